//! JPEG files of every layout against Pillow (tests/reference/jpeg_corpus.py): the right pixels or
//! a refusal, never wrong pixels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use expect_test::expect;
use mm_patch::{DecodeOptions, Image, PatchError};

/// The largest difference of a color from libjpeg's, which rounds otherwise.
const CLOSE: u8 = 4;
/// The largest difference in images of at most four columns, where libjpeg does not interpolate the
/// chroma of 4:2:0.
const NARROW: u8 = 64;

/// What became of the files of a class.
#[derive(Default)]
struct Class {
    files: usize,
    read: usize,
    largest: u8,
}

fn folder() -> PathBuf {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/jpeg");
    std::env::var_os("MM_JPEG_CORPUS").map_or(kept, PathBuf::from)
}

fn decode(bytes: &[u8]) -> Result<Image, PatchError> {
    Image::decode(bytes, &DecodeOptions::default())
}

/// Returns the names and the bytes of the corpus, sorted.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![];
    for entry in fs_err::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "jpg") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            files.push((name, fs_err::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn every_layout_gives_the_pixels_of_pillow_or_is_refused() {
    let mut classes: BTreeMap<String, Class> = BTreeMap::new();
    for (name, bytes) in corpus() {
        let class = classes.entry(name.split("--").next().unwrap().to_owned()).or_default();
        class.files += 1;
        let Ok(image) = decode(&bytes) else { continue };
        class.read += 1;
        let wanted = fs_err::read(folder().join(format!("{name}.png"))).unwrap_or_default();
        let wanted = decode(&wanted).unwrap_or_else(|_| panic!("{name} is read, not by Pillow"));
        assert_eq!((image.width(), image.height()), (wanted.width(), wanted.height()), "{name}");
        let pairs = image.rgb().iter().zip(wanted.rgb());
        let largest = pairs.map(|(found, wanted)| found.abs_diff(*wanted)).max().unwrap();
        let allowed = if image.width() <= 4 { NARROW } else { CLOSE };
        assert!(largest <= allowed, "{name} differs by {largest}");
        if image.width() > 4 {
            class.largest = class.largest.max(largest);
        }
    }
    let mut table = String::new();
    for (name, Class { files, read, largest }) in classes {
        table += &format!("{name}: {read} of {files} read, differing by at most {largest}\n");
    }
    if std::env::var_os("MM_JPEG_CORPUS").is_some() {
        eprint!("{table}");
        return;
    }
    expect![[r#"
        arithmetic: 0 of 3 read, differing by at most 0
        color: 24 of 24 read, differing by at most 2
        damage: 2 of 2 read, differing by at most 3
        gray: 3 of 3 read, differing by at most 1
        markers: 15 of 15 read, differing by at most 3
        process: 1 of 26 read, differing by at most 2
        progressive: 8 of 9 read, differing by at most 3
        restart: 3 of 3 read, differing by at most 3
        sampling: 34 of 34 read, differing by at most 3
        scans: 16 of 17 read, differing by at most 3
        size: 3 of 3 read, differing by at most 3
    "#]]
    .assert_eq(&table);
}

#[test]
fn what_is_refused_is_named() {
    let mut table = String::new();
    for (name, bytes) in corpus() {
        if let (Err(error), None) = (decode(&bytes), std::env::var_os("MM_JPEG_CORPUS")) {
            table += &format!("{name}: {error}\n");
        }
    }
    if std::env::var_os("MM_JPEG_CORPUS").is_none() {
        expect![[r#"
            arithmetic--one-each--restart-1--1x1-2x2-2x2: the jpeg file uses arithmetic coding, which is not read
            arithmetic--progressive--restart-3--2x2-1x1-1x1: the jpeg file uses arithmetic coding, which is not read
            arithmetic--sequential--restart-none--2x2-1x1-1x1: the jpeg file uses arithmetic coding, which is not read
            process--16-bit: the jpeg file uses 16 bits a sample, not 8, which is not read
            process--baseline-12-bit: the jpeg file uses 12 bits a sample, not 8, which is not read
            process--extended-12-bit: the jpeg file uses 12 bits a sample, not 8, which is not read
            process--factor-01: the jpeg file uses the sampling factors 0x1, 1x1, 1x1, which is not read
            process--factor-10: the jpeg file uses the sampling factors 1x0, 1x1, 1x1, which is not read
            process--factor-15: the jpeg file uses the sampling factors 1x5, 1x1, 1x1, which is not read
            process--factor-51: the jpeg file uses the sampling factors 5x1, 1x1, 1x1, which is not read
            process--factor-ff: the jpeg file uses the sampling factors 15x15, 1x1, 1x1, which is not read
            process--fraction--2x1-3x1-3x1: the jpeg file uses the sampling factors 2x1, 3x1, 3x1, which is not read
            process--fraction--2x3-1x2-1x2: the jpeg file uses the sampling factors 2x3, 1x2, 1x2, which is not read
            process--fraction--3x1-2x1-1x1: the jpeg file uses the sampling factors 3x1, 2x1, 1x1, which is not read
            process--fraction--3x2-2x1-1x1: the jpeg file uses the sampling factors 3x2, 2x1, 1x1, which is not read
            process--fraction--3x2-2x2-2x2: the jpeg file uses the sampling factors 3x2, 2x2, 2x2, which is not read
            process--fraction--4x1-3x1-1x1: the jpeg file uses the sampling factors 4x1, 3x1, 1x1, which is not read
            process--height-in-dnl: the jpeg file uses a height behind its first scan (DNL), which is not read
            process--hierarchical-arithmetic: the jpeg file uses hierarchical coding, which is not read
            process--hierarchical-lossless: the jpeg file uses hierarchical coding, which is not read
            process--hierarchical-progressive: the jpeg file uses hierarchical coding, which is not read
            process--hierarchical: the jpeg file uses hierarchical coding, which is not read
            process--jpeg-ls: the jpeg file uses JPEG-LS coding, which is not read
            process--lossless-arithmetic: the jpeg file uses lossless coding, which is not read
            process--lossless: the jpeg file uses lossless coding, which is not read
            process--progressive-12-bit: the jpeg file uses 12 bits a sample, not 8, which is not read
            process--reserved: cannot decode the jpeg file
            process--two-components: the jpeg file uses 2 components, not 1, 3 or 4, which is not read
            progressive--dc-only--restart-none--2x2-1x1-1x1--37x29: the jpeg file uses scans that leave out some of its coefficients, which is not read
            scans--one-each--4x1-2x1-2x1--37x29: the jpeg file uses the sampling factors 4x1, 2x1, 2x1 in a scan of its own, which is not read
        "#]]
        .assert_eq(&table);
    }
}
