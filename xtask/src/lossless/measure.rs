//! This module measures the runs of the study.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::results::Results;
use super::runs::{Kind, READER, Road, Run, SIDE};
use super::{Study, text_of};
use crate::mm;

/// Counts the images on which codecs and readers are measured.
const READ: usize = 480;
/// Counts the images that each representation draws.
const DRAWN: usize = 480;
/// Counts those that are drawn byte by byte, which takes hundreds of times as long.
const DRAWN_BYTES: usize = 8;
/// Counts the images whose likelihood is measured.
const LIKELY: usize = 32;
/// Counts the images of every measurement of `--quick`.
const FEW: usize = 8;
/// Counts the questions about pairs, a seventh of each kind.
const ASKED: usize = 700;
/// Counts the drawings, or decoded images, whose kernel distance from originals is measured.
const JUDGED: usize = 250;
/// Counts the images that are edited.
const EDITED: usize = 16;

impl Study<'_> {
    /// Measures what every codec loses, and what the reader reads behind it.
    pub fn reconstruction(&self, all: &[Run], results: &mut Results) -> Result<()> {
        let reader = self.model(&READER);
        let count = self.count(READ).to_string();
        for run in all {
            if !matches!(run.kind, Kind::Codec { .. }) {
                continue;
            }
            self.once(&format!("codec {}", run.name()), results, || {
                let mut measure = self.mm(&["codec", "measure", "--json", "--count", &count]);
                measure.arg(self.model(run)).arg("--reader").arg(&reader);
                let mut found = self.json(&mut measure)?;
                for part in ["original", "decoded"] {
                    if let Some(reading) = found["reading"][part].as_object_mut() {
                        reading.remove("wrong");
                    }
                }
                Ok(found)
            })?;
            self.judged(run, results)?;
        }
        Ok(())
    }

    /// Measures the kernel distance from held-out originals, if there is a network that judges.
    fn judged(&self, run: &Run, results: &mut Results) -> Result<()> {
        let Some(judge) = self.judge.as_ref().filter(|_| !self.quick) else { return Ok(()) };
        self.once(&format!("kid {}", run.name()), results, || {
            let count = JUDGED.to_string();
            let mut eval = self.mm(&["eval", "--task", "kid", "--json", "--split", "held-out"]);
            eval.arg(self.model(run)).args(["--count", &count]).arg("--features").arg(judge);
            self.json(eval.arg("--cache").arg(self.work.join("features")))
        })
    }

    /// Measures how transformers read.
    pub fn reading(&self, all: &[Run], results: &mut Results) -> Result<()> {
        let count = self.count(READ).to_string();
        for run in all.iter().filter(|run| matches!(run.kind, Kind::Reading(_))) {
            self.once(&format!("eval {}", run.name()), results, || {
                let mut eval = self.mm(&["eval", "--task", "words", "--json", "--count", &count]);
                let mut found = self.json(eval.arg(self.model(run)))?;
                found.as_object_mut().context("no object")?.remove("wrong");
                Ok(found)
            })?;
        }
        Ok(())
    }

    /// Measures how transformers draw, and their likelihoods.
    pub fn drawing(&self, all: &[Run], results: &mut Results) -> Result<()> {
        for run in all {
            let Kind::Drawing(road) = run.kind else { continue };
            let name = run.name();
            if matches!(road, Road::Patches | Road::Bytes) {
                let count = self.count(LIKELY).to_string();
                self.once(&format!("bpd {name}"), results, || {
                    let mut eval = self.mm(&["eval", "--task", "bpd", "--json", "--count", &count]);
                    if road == Road::Patches {
                        eval.args(["--steps", if self.quick { "4" } else { "50" }]);
                    }
                    let mut found = self.json(eval.arg(self.model(run)))?;
                    let images = found["images"].as_array().map_or(0, Vec::len);
                    found.as_object_mut().context("no object")?.remove("images");
                    found["count"] = json!(images);
                    Ok(found)
                })?;
            }
            self.once(&format!("eval {name}"), results, || self.drawn(run, road))?;
            // Drawing hundreds of images byte by byte would take longer than all else.
            if road != Road::Bytes {
                self.judged(run, results)?;
            }
        }
        Ok(())
    }

    /// Measures whether transformers tell two images apart.
    pub fn pairs(&self, all: &[Run], results: &mut Results) -> Result<()> {
        let count = self.count(ASKED).to_string();
        for run in all {
            if !matches!(run.kind, Kind::Pairs(_)) {
                continue;
            }
            self.once(&format!("pairs {}", run.name()), results, || {
                let mut eval = self.mm(&["eval", "--task", "pairs", "--json", "--count", &count]);
                self.json(eval.arg(self.model(run)))
            })?;
        }
        Ok(())
    }

    /// Draws held-out words and lets the reader of originals read them.
    fn drawn(&self, run: &Run, road: Road) -> Result<Value> {
        let most = if road == Road::Bytes { DRAWN_BYTES } else { DRAWN };
        let captions = self.captions(run, self.count(most))?;
        let folder = self.work.join(format!("drawn-{}", run.name()));
        let list = self.work.join("captions.txt");
        self.sh.write_file(&list, captions.join("\n"))?;
        let mut draw = self.mm(&["draw", "--force", "--device", &self.device]);
        draw.arg(self.model(run)).arg("--captions").arg(&list);
        let start = Instant::now();
        mm::quietly(draw.arg("--out").arg(format!("{}/", text_of(&folder))))?;
        let seconds = start.elapsed().as_secs_f64();
        let reader = self.model(&READER);
        let mut read = self.mm(&["read", "--json", "--device", &self.device]);
        let said = mm::quietly(read.arg(reader).arg(&folder))?;
        let read: Vec<String> = said
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line)?;
                Ok(line["caption"].as_str().context("a drawing was not read")?.to_owned())
            })
            .collect::<Result<_>>()?;
        ensure!(read.len() == captions.len(), "{} of {} were read", read.len(), captions.len());
        let pairs = || captions.iter().zip(&read);
        let right = pairs().filter(|(wanted, read)| wanted == read).count();
        let characters: usize = captions.iter().map(|wanted| wanted.chars().count()).sum();
        let shown = pairs().map(|(wanted, read)| in_place(wanted, read)).sum();
        Ok(json!({
            "count": captions.len(),
            "words": wilson(right, captions.len()),
            "characters": wilson(shown, characters),
            "seconds": seconds,
            "calls": road.calls(),
        }))
    }

    /// Returns the captions of held-out records.
    fn captions(&self, run: &Run, count: usize) -> Result<Vec<String>> {
        let recipe = self.work.join(run.name()).join("recipe.toml");
        (0..count).map(|record| self.record(&recipe, record, "shown.bmp")).collect()
    }

    /// Writes the image of a held-out record, and returns its caption.
    fn record(&self, recipe: &Path, record: usize, file: &str) -> Result<String> {
        let mut show = self.mm(&["data", "show", "--split", "held-out", "--force"]);
        show.arg(recipe).arg("--record").arg(record.to_string());
        let said = mm::quietly(show.arg("--out").arg(self.work.join(file)))?;
        caption_of(&said)
    }

    /// Lets raw patches draw the middle of images anew, and counts the bytes outside that changed.
    pub fn editing(&self, all: &[Run], results: &mut Results) -> Result<()> {
        for run in all {
            if run.kind != Kind::Drawing(Road::Patches) {
                continue;
            }
            self.once(&format!("edit {}", run.name()), results, || self.edited(run))?;
        }
        Ok(())
    }

    fn edited(&self, run: &Run) -> Result<Value> {
        let count = self.count(EDITED);
        let recipe = self.work.join(run.name()).join("recipe.toml");
        let files = ["edit-in.bmp", "edit-mask.bmp", "edit-out.bmp"];
        let [before, mask, after] = files.map(|file| self.work.join(file));
        let is_free = |x: usize, y: usize| (8..24).contains(&x) && (8..24).contains(&y);
        fs_err::write(&mask, bitmap(&|x, y| if is_free(x, y) { 255 } else { 0 }))?;
        let (mut changed, mut inside, mut bytes) = (0, 0, 0);
        for record in 0..count {
            let caption = self.record(&recipe, record, files[0])?;
            let mut edit = self.mm(&["edit", "inpaint", "--force", "--device", &self.device]);
            edit.arg(self.model(run)).arg(&before).arg(&caption).arg("--mask").arg(&mask);
            mm::quietly(edit.arg("--out").arg(&after))?;
            let (old, new) = (fs_err::read(&before)?, fs_err::read(&after)?);
            let (old, new) = (pixels(&old)?, pixels(&new)?);
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                let (x, row) = (at / 3 % SIDE, at / 3 / SIDE);
                let apart = usize::from(old != new);
                if is_free(x, SIDE - 1 - row) {
                    inside += apart;
                } else {
                    bytes += 1;
                    changed += apart;
                }
            }
        }
        Ok(json!({ "count": count, "outside": bytes, "changed": changed, "inside": inside }))
    }

    fn count(&self, count: usize) -> usize {
        if self.quick { count.min(FEW) } else { count }
    }
}

/// Counts the characters of a word that were read at their places.
fn in_place(wanted: &str, read: &str) -> usize {
    wanted.chars().zip(read.chars()).filter(|(wanted, read)| wanted == read).count()
}

/// Returns a share with its 95 % interval (Wilson 1927), under the names of `mm eval --json`.
fn wilson(right: usize, of: usize) -> Value {
    const Z: f64 = 1.96;
    let n = of.max(1) as f64;
    let share = right as f64 / n;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    json!({ "right": right, "of": of, "value": share, "low": (middle - half).max(0.0), "high": middle + half })
}

/// Returns the caption that `mm data show` printed.
fn caption_of(said: &str) -> Result<String> {
    let line = said.lines().find(|line| !line.trim().is_empty());
    Ok(line.context("a record has no caption")?.trim().to_owned())
}

/// Is the length of the header of a bitmap.
const HEADER: usize = 54;

/// Writes a square bitmap of gray pixels, whose rows stand from the bottom up.
fn bitmap(gray: &dyn Fn(usize, usize) -> u8) -> Vec<u8> {
    let data = SIDE * SIDE * 3; // rows of 96 bytes need no padding
    let mut file = b"BM".to_vec();
    for number in [HEADER + data, 0, HEADER, 40, SIDE, SIDE] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend([1, 0, 24, 0]); // one plane of 24 bits
    for number in [0, data, 0, 0, 0, 0] {
        file.extend((number as u32).to_le_bytes());
    }
    for y in (0..SIDE).rev() {
        file.extend((0..SIDE).flat_map(|x| [gray(x, y); 3]));
    }
    file
}

/// Returns the bytes of the pixels of a bitmap of 24 bits, whose rows stand from the bottom up.
fn pixels(file: &[u8]) -> Result<&[u8]> {
    let start = file.get(10..14).context("a bitmap is cut")?;
    let start = u32::from_le_bytes([start[0], start[1], start[2], start[3]]) as usize;
    let bits = file.get(28..30).context("a bitmap is cut")?;
    ensure!(bits == [24, 0], "a bitmap has pixels of another size");
    file.get(start..start + SIDE * SIDE * 3).context("a bitmap is cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_wilson() {
        let share = wilson(297, 300);
        let end = |name: &str| (share[name].as_f64().unwrap() * 1e3).round();
        assert_eq!([end("value"), end("low"), end("high")], [990.0, 971.0, 997.0]);
    }

    #[test]
    fn characters_count_where_they_were_asked_for() {
        assert_eq!([in_place("AB", "AB"), in_place("AB", "XB"), in_place("AB", "B")], [2, 1, 0]);
    }

    #[test]
    fn a_bitmap_has_its_pixels_from_the_bottom_up() {
        let file = bitmap(&|x, y| (x + 4 * y) as u8);
        assert_eq!(file.len(), HEADER + 3 * SIDE * SIDE);
        let found = pixels(&file).unwrap();
        assert_eq!(found[..6], [124, 124, 124, 125, 125, 125]);
        assert_eq!(found[3 * SIDE * (SIDE - 1)], 0);
        assert!(pixels(&file[..100]).is_err());
    }
}
