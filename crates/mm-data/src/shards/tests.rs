//! Tests of WebDataset shards.

use std::io::Cursor;

use mm_patch::Image;
use proptest::prelude::*;
use rand::SeedableRng;
use tempfile::TempDir;

use super::*;
use crate::testing::{example, folder};

const SETTINGS: ImageSettings = ImageSettings { width: 16, height: 8, patch: 4 };

fn png(shade: u8) -> Vec<u8> {
    Image::filled(20, 10, [shade; 3]).encode_png()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn shard(count: u8) -> Vec<u8> {
    let names: Vec<[String; 2]> =
        (0..count).map(|at| ["jpg", "txt"].map(|ending| format!("a/{at:03}.{ending}"))).collect();
    let bytes: Vec<[Vec<u8>; 2]> =
        (0..count).map(|at| [png(at), format!("shade {at}\n").into()]).collect();
    let pairs = names.iter().flatten().map(String::as_str);
    let members: Vec<(&str, &[u8])> =
        pairs.zip(bytes.iter().flatten().map(Vec::as_slice)).collect();
    tar(&members)
}

fn config(folder: &TempDir, pattern: &str) -> WebdatasetConfig {
    WebdatasetConfig::of(vec![folder.path().join(pattern).display().to_string()])
}

#[test]
fn every_sample_of_every_shard_comes_with_its_own_caption() {
    let folder = folder(&[("x-000.tar", &shard(20)), ("x-001.tar", &shard(30))]);
    for pattern in ["x-{000..001}.tar", "*.tar", ""] {
        let set = ShardSet::open(&config(&folder, pattern), SETTINGS).unwrap();
        assert_eq!(set.entries.iter().count(), 50, "{pattern}");
        for split in Split::ALL {
            for index in (0..set.len(split).unwrap()).rev() {
                let Example { image, caption } = example(&set, split, index).unwrap();
                assert_eq!(caption, format!("shade {}", image.pixel(3, 3)[0]));
            }
        }
        assert_eq!(Some(set.captions().len() as u64), set.len(Split::Train));
        assert!(set.skipped().is_empty());
    }
}

#[test]
fn what_a_damaged_header_says_is_escaped_and_cut_and_a_compressed_shard_is_called_one() {
    let mut damaged = shard(3);
    damaged[148..156].copy_from_slice(b"\x1b[31m\x07\xff\x00"); // the header's checksum
    let cut = index(Cursor::new(&damaged), damaged.len() as u64, true).cut.unwrap().why;
    assert!(cut.starts_with("broken from byte 0 on: ") && cut.len() < 300, "{cut}");
    assert!(!cut.contains(char::is_control), "{cut:?}");
    let folder = folder(&[("x.tar.gz", b"\x1f\x8b\x08 and so on")]);
    let error = ShardSet::open(&config(&folder, "*"), SETTINGS).unwrap_err().to_string();
    assert!(error.contains("x.tar.gz`: it is compressed by gzip, wanted a plain tar"), "{error}");
    assert_eq!(shown("it's \"é\"\u{1b}[2J"), "it's \"é\"\\u{1b}[2J");
    assert_eq!(shown(&"\0".repeat(90)), format!("{}…", "\\0".repeat(40)));
}

#[test]
fn a_shard_of_a_range_that_is_not_there_is_named_and_counted() {
    let folder = folder(&[("x-000.tar", &shard(20)), ("x-002.tar", &shard(20))]);
    let with = |max_bad| {
        let config = WebdatasetConfig { max_bad, ..config(&folder, "x-{000..002}.tar") };
        ShardSet::open(&config, SETTINGS)
    };
    let set = with(0.5).unwrap();
    assert_eq!((set.entries.iter().count(), set.bad()), (40, 1));
    assert!(set.skipped()[0].path.ends_with("x-001.tar"), "{:?}", set.skipped());
    let error = with(0.0).unwrap_err().to_string();
    assert!(error.starts_with("1 of 3 files") && error.contains("x-001.tar"), "{error}");
}

#[test]
fn a_caption_may_be_a_field_of_json_and_long_names_are_read() {
    let long = format!("{}/{}.png", "d".repeat(120), "n".repeat(90));
    let json = long.replace(".png", ".json");
    let bytes = tar(&[(&long, &png(7)), (&json, br#"{"caption": 3, "title": "seven"}"#)]);
    let folder = folder(&[("x.tar", &bytes)]);
    let of = |caption: &str| {
        let config = WebdatasetConfig { caption: caption.into(), ..config(&folder, "x.tar") };
        let set = ShardSet::open(&config, SETTINGS).unwrap();
        let split = Split::ALL.into_iter().find(|split| set.len(*split) == Some(1)).unwrap();
        example(&set, split, 0).map_err(|why| why.to_string())
    };
    assert_eq!(of("title").unwrap().caption, "seven");
    let why = of("caption").unwrap_err();
    assert!(why.ends_with("its json has no text `caption`, it has `caption`, `title`"), "{why}");
}

#[test]
fn members_that_are_no_sample_are_named_and_not_counted() {
    let bytes = tar(&[
        ("1.png", &png(1)),
        ("1.txt", b"one"),
        ("2.png", &png(2)),
        ("3.txt", b"three"),
        ("README", b"words"),
        ("1.png", &png(9)),
        ("1.txt", b"one again"),
    ]);
    let Index { samples, incomplete, cut, .. } =
        index(Cursor::new(&bytes), bytes.len() as u64, true);
    let keys: Vec<&str> = samples.iter().map(|sample| &*sample.key).collect();
    assert_eq!((keys, cut), (vec!["1", "1#2"], None));
    let lacking: Vec<(&str, Lacks)> =
        incomplete.iter().map(|one| (one.key.as_str(), one.lacks)).collect();
    assert_eq!(lacking, [("2", Lacks::Words), ("3", Lacks::Image)]);
    assert_eq!(index(Cursor::new(&bytes), bytes.len() as u64, false).samples.len(), 3);
}

#[test]
fn samples_whose_files_are_apart_are_broken_and_told_why() {
    let names: Vec<String> = ["png", "txt"]
        .iter()
        .flat_map(|ending| (0..4).map(move |at| format!("{at}.{ending}")))
        .collect();
    let image = png(1);
    let members: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), image.as_slice())).collect();
    let folder = folder(&[("x.tar", &tar(&members)), ("y.tar", &shard(4))]);
    let error = ShardSet::open(&config(&folder, "x*"), SETTINGS).unwrap_err().to_string();
    assert!(error.contains("is empty, 4 left out") && error.contains("`0` at byte 512"), "{error}");
    assert!(error.contains("must stand next to each other"), "{error}");
    let error = ShardSet::open(&config(&folder, "*"), SETTINGS).unwrap_err().to_string();
    assert!(error.starts_with("4 of 8 items of the webdataset data set are broken"), "{error}");
    let bare = WebdatasetConfig { caption: String::new(), ..config(&folder, "x*") };
    assert_eq!(ShardSet::open(&bare, SETTINGS).unwrap().tally().items, 4);
}

#[test]
fn a_truncated_shard_gives_what_is_before_the_cut_and_is_named() {
    let mut cut = shard(40);
    cut.truncate(cut.len() / 2);
    let folder = folder(&[("a.tar", &shard(30)), ("b.tar", &cut), ("c.tar", &vec![7; 2000])]);
    let with =
        |max_bad| ShardSet::open(&WebdatasetConfig { max_bad, ..config(&folder, "*") }, SETTINGS);
    let set = with(0.7).unwrap();
    let count = set.entries.iter().count();
    assert!((45..52).contains(&count), "{count}");
    let named: Vec<String> = set
        .skipped()
        .iter()
        .map(|skipped| format!("{} {}", skipped.path.display(), skipped.why))
        .collect();
    assert!(
        named.iter().any(
            |line| line.contains("b.tar it is cut short") || line.contains("b.tar broken from")
        ),
        "{named:?}"
    );
    assert!(named.iter().any(|line| line.contains("c.tar broken from byte 0")), "{named:?}");
    let error = with(0.1).unwrap_err().to_string();
    assert!(error.starts_with("2 of 3 files of the webdataset data set are broken"), "{error}");
}

#[test]
fn a_shard_that_is_damaged_early_weighs_by_what_it_loses() {
    let lone = |from: &dyn Fn(usize) -> usize| {
        let mut bytes = shard(200);
        let at = from(bytes.len() / 512) * 512;
        // A header's checksum stands at byte 148 of its block.
        let block =
            (at..bytes.len()).step_by(512).find(|at| bytes[at + 257..].starts_with(b"ustar"));
        let at = block.unwrap() + 148;
        bytes[at..at + 6].copy_from_slice(b"broken");
        let folder = folder(&[("x.tar", &bytes)]);
        ShardSet::open(&config(&folder, "*"), SETTINGS).map(|set| set.tally())
    };
    let error = lone(&|_| 8).unwrap_err().to_string();
    assert!(
        error.starts_with("1 of 1 files of the webdataset")
            && error.contains("x.tar`: broken from")
    );
    let tally = lone(&|blocks| blocks - 5).unwrap();
    assert_eq!((tally.items, tally.bad, tally.bad_files), (200, 1, 1));
    assert!(tally.lost_files > 0.0 && tally.lost_files < 0.01, "{tally:?}");
}

#[test]
fn a_shard_without_closing_blocks_is_named_and_its_whole_samples_are_read() {
    let mut bytes = shard(60);
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512));
    let folder = folder(&[("x.tar", &bytes)]);
    let set = ShardSet::open(&config(&folder, "*"), SETTINGS).unwrap();
    let tally = set.tally();
    assert_eq!((tally.items, tally.bad, tally.bad_files), (61, 1, 1));
    assert_eq!(tally.lost_files, 0.0);
    assert!(set.skipped()[0].why.contains("closing blocks"), "{:?}", set.skipped());
}

#[test]
fn broken_samples_with_long_names_that_begin_alike_are_counted_one_by_one() {
    let name = |at: u8, ending: &str| format!("{}/{at}.{ending}", "long".repeat(30));
    let members: Vec<(String, Vec<u8>)> = (0..20)
        .flat_map(|at| [(name(at, "png"), b"no image".to_vec()), (name(at, "txt"), vec![b'x'])])
        .collect();
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let folder = folder(&[("x.tar", &tar(&members))]);
    let set = ShardSet::open(&config(&folder, "*"), SETTINGS).unwrap();
    for split in Split::ALL {
        for index in 0..set.len(split).unwrap() {
            assert_eq!(set.exact(split, index, &mut ChaCha8Rng::seed_from_u64(0)).unwrap(), None);
        }
    }
    assert_eq!((set.tally().items, set.bad()), (20, 20));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn any_bytes_are_a_shard_or_an_error(
        noise in prop::collection::vec(any::<u8>(), 0..1200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
    ) {
        index(Cursor::new(&noise), noise.len() as u64, true);
        let mut bytes = shard(4);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(keep.index(bytes.len()));
        let found = index(Cursor::new(&bytes), bytes.len() as u64, true);
        for sample in found.samples {
            prop_assert!(sample.image.at + sample.image.bytes <= bytes.len() as u64);
        }
    }
}
