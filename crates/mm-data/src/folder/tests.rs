//! Tests of image folders.

mod captions;

use fs_err::write;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use std::error::Error;
use std::path::Path;

use super::*;
use crate::testing::{example, folder};

const SETTINGS: ImageSettings = ImageSettings { width: 16, height: 8, patch: 4 };

fn png(rgb: [u8; 3]) -> Vec<u8> {
    Image::filled(40, 20, rgb).encode_png()
}

fn config(folder: &TempDir, captions: Captions) -> FolderConfig {
    FolderConfig { captions, max_bad: 1.0, ..FolderConfig::of(folder.path()) }
}

fn open(folder: &TempDir, captions: Captions) -> Result<FolderSet, DataError> {
    FolderSet::open(&config(folder, captions), SETTINGS)
}

/// Skips as `file: why`, the folder's own place left out.
fn reasons(set: &FolderSet, folder: &TempDir) -> Vec<String> {
    let below = |path: &Path| {
        path.strip_prefix(folder.path()).unwrap().to_string_lossy().replace('\\', "/")
    };
    set.skipped()
        .iter()
        .map(|skipped| format!("{}: {}", below(&skipped.path), skipped.why))
        .collect()
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_is_said_not_to_be_followed() {
    let folder = folder(&[("a/1.png", &png([0; 3]))]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/round")).unwrap();
    let set = open(&folder, Captions::None).unwrap();
    assert_eq!(set.len(Split::Train), Some(1));
    assert_eq!(reasons(&set, &folder), ["a/round: a link to a folder, not followed"]);
}

#[test]
fn sub_folders_are_captions_on_request() {
    let folder = folder(&[
        ("cat/1.png", &png([0; 3])),
        ("dog/1.png", &png([9; 3])),
        ("lost.png", &png([0; 3])),
    ]);
    let set = open(&folder, Captions::Folders).unwrap();
    assert_eq!(set.captions(), ["cat", "dog"]);
    assert_eq!(
        reasons(&set, &folder),
        ["lost.png: it is in no sub-folder whose name could be its caption"]
    );
}

#[test]
fn bad_files_are_named_with_their_reason_and_the_next_good_one_is_taken() {
    let good = png([10, 200, 10]);
    let folder = folder(&[
        (".hidden", b"passed over"),
        ("a-corrupt.png", &good[..good.len() / 2]),
        ("a-corrupt.txt", b"half"),
        ("b-lie.jpg", b"no image at all"),
        ("b-lie.txt", b"words"),
        ("c-good.png", &good),
        ("c-good.txt", b"green"),
        ("d-bare.png", &good),
        ("e-latin.png", &good),
        ("e-latin.txt", b"caf\xe9"),
        ("f-empty.png", b""),
        ("f-empty.txt", b"nothing"),
        ("g-silent.png", &good),
        ("g-silent.txt", b" \n"),
        ("metadata.jsonl", b"{\"file_name\": \"gone.png\", \"text\": \"gone\"}\n\nnot json\n"),
        ("notes.md", b"# notes"),
    ]);
    let set = open(&folder, Captions::Written).unwrap();
    assert_eq!(set.len(Split::Train), Some(3));
    // What is broken stands before what is passed over.
    let at_opening = [
        "d-bare.png: no caption: neither `d-bare.txt` nor a line of `metadata.jsonl` or `metadata.csv`; \
         in `metadata.jsonl`: line 3: expected ident at line 1 column 2",
        "e-latin.png: its caption `e-latin.txt` is not UTF-8",
        "f-empty.png: the file is empty",
        "g-silent.png: its caption is empty",
        "gone.png: named in the metadata, but there is no such image",
        "metadata.jsonl: line 3: expected ident at line 1 column 2",
        "f-empty.txt: no image: nothing beside it has its name",
        "notes.md: not an image: the name ends in none of `.png`, `.jpg`, `.jpeg`, `.jfif`, \
         `.jpe`, `.webp`, `.gif`, `.bmp`, `.tif`, `.tiff`",
    ];
    assert_eq!(reasons(&set, &folder), at_opening);
    for index in 0..6 {
        assert_eq!(example(&set, Split::Train, index).unwrap().caption, "green", "index {index}");
    }
    let later: Vec<String> = reasons(&set, &folder).into_iter().take(2).collect();
    assert!(
        later[0].starts_with("a-corrupt.png: ") && later[1].starts_with("b-lie.jpg: "),
        "{later:?}"
    );
    assert_eq!(set.skipped().len(), at_opening.len() + 2);
}

#[test]
fn an_image_of_a_format_that_is_not_read_is_broken_and_named() {
    let avif = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1";
    let folder = folder(&[
        ("a.png", &png([9; 3])),
        ("b.AVIF", avif),
        ("c.jpg", avif),
        ("d.JFIF", &png([7; 3])),
    ]);
    let set = open(&folder, Captions::None).unwrap();
    assert_eq!(set.len(Split::Train), Some(3));
    for index in 0..3 {
        example(&set, Split::Train, index).unwrap();
    }
    let said = reasons(&set, &folder).join("\n");
    assert!(said.contains("b.AVIF: `.avif` images are not read, wanted `.png`"), "{said}");
    assert!(said.contains("c.jpg: the image file is of the format `avif`"), "{said}");
    assert_eq!(set.bad(), 2);
}

#[test]
fn a_folder_without_usable_images_is_an_error_that_says_what_was_wanted() {
    let empty = folder(&[]);
    let error = open(&empty, Captions::Written).unwrap_err().to_string();
    assert!(error.contains(&empty.path().display().to_string()), "{error}");
    assert!(
        error.ends_with("`.jpe`, `.webp`, `.gif`, `.bmp`, `.tif`, `.tiff`, skipped 0"),
        "{error}"
    );
    let error = open(&empty, Captions::None).unwrap_err().to_string();
    assert!(error.contains("holds no image; wanted"), "{error}");
    let uncaptioned = folder(&[("a.png", &png([0; 3]))]);
    let error = open(&uncaptioned, Captions::Written).unwrap_err().to_string();
    assert!(
        error.contains("skipped 1: `") && error.contains("no caption: neither `a.txt`"),
        "{error}"
    );
    let missing =
        FolderConfig { path: empty.path().join("absent"), ..config(&empty, Captions::Written) };
    let error = FolderSet::open(&missing, SETTINGS).unwrap_err();
    assert!(error.source().unwrap().to_string().contains("absent"), "{error:?}");
    let nowhere = FolderConfig { path: PathBuf::new(), ..config(&empty, Captions::Written) };
    assert_eq!(
        nowhere.validate().unwrap_err().to_string(),
        "`path` is ``, wanted a folder of images"
    );
}

#[test]
fn images_that_all_prove_broken_are_an_error_not_a_loop() {
    let folder = folder(&[("a/1.png", b"x"), ("a/2.png", b"y")]);
    let set = open(&folder, Captions::Folders).unwrap();
    let error = example(&set, Split::Train, 1).unwrap_err().to_string();
    assert!(error.starts_with("none of the 2 items can be read; the first, in `"), "{error}");
    let error = example(&set, Split::HeldOut, 0).unwrap_err().to_string();
    assert_eq!(error, "the held-out split of the folder data set is empty");
}

/// The names of the images of both splits, below the folder.
fn sides(folder: &TempDir, captions: Captions) -> [Vec<String>; 2] {
    let set = open(folder, captions).unwrap();
    Split::ALL.map(|split| {
        let entries = set.entries.of(split).iter();
        entries.map(|entry| below(&entry.path, folder.path())).collect()
    })
}

#[test]
fn a_tenth_of_the_images_is_held_out_and_images_that_are_added_move_none() {
    let names: Vec<String> = (0..200).map(|i| format!("kind/{i:03}.png")).collect();
    let images: Vec<Vec<u8>> = (0..200).map(|at| png([at, 2, 3])).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&images).map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let of = |count: usize| sides(&folder(&files[..count]), Captions::Folders);
    let [_, all] = of(200);
    assert!((10..30).contains(&all.len()), "{all:?}");
    for count in [2, 9, 10, 100] {
        let [train, held_out] = of(count);
        assert_eq!(train.len() + held_out.len(), count);
        assert!(held_out.iter().all(|name| all.contains(name)), "{count}: {held_out:?}");
        assert!(train.iter().all(|name| !all.contains(name)), "{count}: {train:?}");
    }
}

#[test]
fn equal_images_stand_on_one_side_whatever_they_are_called() {
    let names: Vec<String> = (0..200).map(|i| format!("{i:03}.png")).collect();
    let images: Vec<Vec<u8>> = (0..200).map(|at| png([at % 100, 2, 3])).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&images).map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let [train, held_out] = sides(&folder(&files), Captions::None);
    let shades = |names: &[String]| -> std::collections::HashSet<u32> {
        names.iter().map(|name| name[..3].parse::<u32>().unwrap() % 100).collect()
    };
    assert!(shades(&train).is_disjoint(&shades(&held_out)));
    assert_eq!((shades(&train).len() + shades(&held_out).len(), train.len() % 2), (100, 0));
    assert!(!held_out.is_empty());
}

#[test]
fn images_beside_their_own_split_are_left_out_of_training_where_they_are_held_out_too() {
    let files: [(&str, &[u8]); 3] = [
        ("train/1.png", &png([1; 3])),
        ("train/2.png", &png([2; 3])),
        ("test/3.png", &png([2; 3])),
    ];
    let folder = folder(&files);
    let set = open(&folder, Captions::None).unwrap();
    assert_eq!((set.len(Split::Train), set.len(Split::HeldOut)), (Some(1), Some(1)));
    assert_eq!(
        reasons(&set, &folder),
        ["train/2.png: not trained on: its image is a held-out one, too"]
    );
}

#[test]
fn folders_that_say_held_out_are_never_trained_on_nested_or_beside_each_other() {
    let paths = [
        "cats/train/1.png",
        "cats/dev/2.png",
        "dogs/training/3.png",
        "dogs/Validation/deep/4.png",
        "val2017/5.png",
        "held-out/6.png",
        "testing/train/7.png",
        "contest/8.png",
    ];
    let images: Vec<Vec<u8>> = (0..8).map(|at| png([at; 3])).collect();
    let files: Vec<(&str, &[u8])> =
        paths.iter().zip(&images).map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let [train, held_out] = sides(&folder(&files), Captions::None);
    assert_eq!(train, ["cats/train/1.png", "contest/8.png", "dogs/training/3.png"]);
    assert_eq!(held_out.len(), 5);
    let things = folder(&[("test tube/1.png", &images[1]), ("cup/2.png", &images[2])]);
    let [train, held_out] = sides(&things, Captions::Folders);
    assert_eq!(train.len() + held_out.len(), 2);
    assert!(!is_held_out("test tube/1.png", Captions::Folders), "a caption is no split");
    assert!(is_held_out("test/1.png", Captions::Folders));
    assert!(is_held_out("test set/cup/1.png", Captions::Folders));
}

#[test]
fn padding_shows_the_background_and_cropping_does_not() {
    let folder = folder(&[("tall/1.png", &Image::filled(8, 32, [9; 3]).encode_png())]);
    let corner = |fit| {
        let config =
            FolderConfig { fit, background: [1, 2, 3], ..config(&folder, Captions::Folders) };
        let set = FolderSet::open(&config, SETTINGS).unwrap();
        example(&set, Split::Train, 0).unwrap().image.pixel(0, 0)
    };
    assert_eq!(corner(ImageFit::CenterCrop), [9; 3]);
    assert_eq!(corner(ImageFit::Pad), [1, 2, 3]);
}

#[test]
fn a_folder_of_bare_images_will_do_when_no_captions_are_asked_for() {
    let folder = folder(&[("1.png", &png([0; 3])), ("2.jpg", &png([9; 3]))]);
    let set = open(&folder, Captions::None).unwrap();
    assert_eq!(set.captions(), ["", ""]);
    assert_eq!(example(&set, Split::Train, 1).unwrap().image.pixel(0, 0), [9; 3]);
}

#[test]
fn train_and_valid_sub_folders_are_the_parts() {
    for held_out in HELD_OUT {
        let names = ["train/a/1.png".into(), "train/2.png".into(), format!("{held_out}/3.png")];
        let images = [1, 2, 3].map(|at| png([at; 3]));
        let files: Vec<(&str, &[u8])> =
            names.iter().zip(&images).map(|(name, bytes)| (&name[..], &bytes[..])).collect();
        let [train, held_out] = sides(&folder(&files), Captions::None);
        assert_eq!((train.len(), held_out), (2, vec![names[2].clone()]));
    }
}

#[test]
fn more_broken_images_than_the_limit_are_an_error_that_names_one() {
    let mut files: Vec<(String, Vec<u8>)> =
        (0..20).map(|at| (format!("{at:02}.png"), png([at; 3]))).collect();
    files[3].1.truncate(40);
    files[4].1.clear();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let folder = folder(&files);
    let with = |max_bad| {
        let config = FolderConfig { max_bad, ..config(&folder, Captions::None) };
        let set = FolderSet::open(&config, SETTINGS)?;
        for split in Split::ALL {
            for index in 0..set.len(split).unwrap() {
                example(&set, split, index)?;
            }
        }
        Ok::<_, DataError>(set.bad())
    };
    assert_eq!(with(0.1).unwrap(), 2);
    let error = with(0.05).unwrap_err().to_string();
    assert!(
        error.starts_with("2 of 20 items of the folder data set are broken, `max_bad` allows 1"),
        "{error}"
    );
    assert!(with(0.0).unwrap_err().to_string().contains("the file is empty"));
}

#[test]
fn a_cached_image_is_used_until_its_file_or_the_settings_change() {
    let folder = folder(&[("1.png", &png([10; 3])), ("2.png", &png([20; 3]))]);
    let cache = tempdir().unwrap();
    let config = FolderConfig {
        cache: Some(cache.path().join("pixels")),
        ..config(&folder, Captions::None)
    };
    let color = |set: &FolderSet| example(set, Split::Train, 0).unwrap().image.pixel(0, 0);
    let set = FolderSet::open(&config, SETTINGS).unwrap();
    assert_eq!(color(&set), [10; 3]);
    write(folder.path().join("1.png"), b"broken, of another length").unwrap();
    assert_eq!(color(&set), [10; 3]); // an open set takes the folder as it was listed
    write(folder.path().join("1.png"), Image::filled(41, 20, [30; 3]).encode_png()).unwrap();
    assert_eq!(color(&FolderSet::open(&config, SETTINGS).unwrap()), [30; 3]);
    let other = ImageSettings { width: 8, height: 8, patch: 4 };
    let set = FolderSet::open(&config, other).unwrap();
    let image = example(&set, Split::Train, 0).unwrap().image;
    assert_eq!((image.width(), image.height()), (8, 8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_bytes_beside_images_are_captions_or_skips(
        metadata in prop::collection::vec(any::<u8>(), 0..120),
        caption in prop::collection::vec(any::<u8>(), 0..40),
        name in "[a-z./]{0,12}",
    ) {
        let line = format!("{{\"file_name\": {name:?}, \"text\": \"words\"}}\n");
        let metadata = [line.as_bytes(), &metadata].concat();
        let image = png([5; 3]);
        let files: [(&str, &[u8]); 5] = [
            ("a.png", &image),
            ("a.txt", b"words"),
            ("b.png", &image),
            ("b.txt", &caption),
            ("metadata.jsonl", &metadata),
        ];
        let folder = folder(&files);
        let set = open(&folder, Captions::Written);
        if std::str::from_utf8(&metadata).is_err() {
            let refused = matches!(set, Err(DataError::Metadata { .. }));
            prop_assert!(refused);
            return Ok(());
        }
        let set = set.unwrap();
        prop_assert!((1..=2).contains(&set.len(Split::Train).unwrap()));
        prop_assert!(set.captions().iter().all(|caption| !caption.is_empty()));
    }
}
#[test]
fn captions_come_from_text_files_and_from_metadata_lines() {
    let image = png([200, 10, 10]);
    let folder = folder(&[
        ("b.png", &image),
        ("b.txt", "\u{feff}a red field\n".as_bytes()),
        ("deep/er/a.PNG", &image),
        (
            "deep/metadata.jsonl",
            br#"{"file_name": "er/a.PNG", "text": "deep red", "license": "CC0"}"#,
        ),
    ]);
    let set = open(&folder, Captions::Written).unwrap();
    assert_eq!(set.captions(), ["a red field", "deep red"]);
    assert!(set.skipped().is_empty());
    let example = example(&set, Split::Train, 3).unwrap();
    assert_eq!(
        (example.caption.as_str(), example.image),
        ("deep red", Image::filled(16, 8, [200, 10, 10]))
    );
}

#[test]
fn a_image_with_several_lines_of_metadata_has_all_their_captions_in_one_part() {
    let names: Vec<String> = (0..60).map(|at| format!("{at}.png")).collect();
    let images: Vec<Vec<u8>> = (0..60).map(|at| png([at, 10, 10])).collect();
    let lines: String = ["one", "two", " "]
        .iter()
        .flat_map(|text| {
            names.iter().map(move |name| {
                format!("{}\n", serde_json::json!({ "file_name": name, "text": text }))
            })
        })
        .collect();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().zip(&images).map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    files.push(("metadata.jsonl", lines.as_bytes()));
    let folder = folder(&files);
    let set = open(&folder, Captions::Written).unwrap();
    assert!(set.len(Split::HeldOut).unwrap() > 0);
    for split in Split::ALL {
        for two in set.entries.of(split).chunks(2) {
            assert_eq!((&two[0].path, &two[0].caption[..]), (&two[1].path, "one"));
            assert_eq!(two[1].caption, "two");
        }
    }
    assert_eq!((set.tally().items, set.skipped()), (60, vec![]));
    let slots = set.entries.iter().map(|entry| entry.slot);
    assert!(slots.eq((0..60).flat_map(|slot| [slot; 2])), "an image has one place in a cache");
}

#[test]
fn a_line_that_is_no_caption_or_stands_twice_leaves_the_others_of_its_image() {
    let image = png([200, 10, 10]);
    let line = |text: &str| serde_json::json!({ "file_name": "a.png", "text": text }).to_string();
    let long = "x".repeat(1 << 20);
    let lines = ["good", &long, "good", "other"].map(line).join("\n");
    let folder = folder(&[("a.png", &image), ("metadata.jsonl", lines.as_bytes())]);
    let config = FolderConfig { max_bad: 1.0, ..config(&folder, Captions::Written) };
    let set = FolderSet::open(&config, SETTINGS).unwrap();
    assert_eq!(set.captions(), ["good", "other"]);
    let said: Vec<String> = set.skipped().into_iter().map(|skipped| skipped.why).collect();
    assert!(said.len() == 1 && said[0].starts_with("line 2: "), "{said:?}");
}

#[test]
fn a_caption_is_found_whatever_the_case_of_its_ending() {
    let image = png([0; 3]);
    let files: [(&str, &[u8]); 5] = [
        ("UP.PNG", &image),
        ("UP.TXT", b"capital"),
        ("both.png", &image),
        ("both.TXT", b"other"),
        ("both.txt", b"usual"),
    ];
    let folder = folder(&files);
    let set = open(&folder, Captions::Written).unwrap();
    assert_eq!(set.captions(), ["capital", "usual"]);
    assert!(set.skipped().is_empty());
}

#[test]
fn captions_may_be_in_another_field_and_lines_without_it_say_what_they_have() {
    let image = png([200, 10, 10]);
    let folder = folder(&[
        ("1.png", &image),
        ("2.png", &image),
        (
            "metadata.jsonl",
            b"{\"file_name\": \"1.png\", \"caption\": \"red\"}\n{\"file_name\": \"2.png\"}\n",
        ),
    ]);
    let of = |caption: &str| {
        let config = FolderConfig { caption: caption.into(), ..config(&folder, Captions::Written) };
        FolderSet::open(&config, SETTINGS)
    };
    let set = of("caption").unwrap();
    assert_eq!(set.captions(), ["red"]);
    assert_eq!(
        reasons(&set, &folder),
        ["2.png: no caption: metadata.jsonl: line 2: it has no `caption` (named by the setting \
          `caption`), it has `file_name`"]
    );
    let error = of("text").unwrap_err().to_string();
    let wanted = "1.png`: no caption: metadata.jsonl: line 1: it has no `text` (named by the setting \
                  `caption`), it has `caption`, `file_name`";
    assert!(error.ends_with(wanted), "{error}");
    assert!(error.contains("skipped 2"), "{error}");
    assert!(of("").unwrap_err().to_string().starts_with("`caption` is ``"));
}

#[test]
fn metadata_in_another_form_is_said_not_to_be_read() {
    let folder = folder(&[("1.png", &png([0; 3])), ("metadata.parquet", b"PAR1")]);
    let error = open(&folder, Captions::Written).unwrap_err().to_string();
    assert!(error.ends_with("or `metadata.csv` (`metadata.parquet` is not read)"), "{error}");
    let set = open(&folder, Captions::None).unwrap();
    assert_eq!(
        reasons(&set, &folder),
        ["metadata.parquet: not read: captions may be in `metadata.jsonl` or `metadata.csv`"]
    );
}

#[test]
fn a_table_of_comma_separated_values_has_captions_too() {
    let table = "\u{feff}license,file_name,text\r\nCC0,deep\\1.png,\"one, \"\"two\"\"\r\nthree\"\r\n,2.png,\r\n";
    let images = [png([1; 3]), png([2; 3])];
    let folder = folder(&[
        ("deep/1.png", &images[0]),
        ("2.png", &images[1]),
        ("metadata.csv", table.as_bytes()),
    ]);
    let set = open(&folder, Captions::Written).unwrap();
    let captions: Vec<&str> = set.entries.iter().map(|entry| &entry.caption[..]).collect();
    assert_eq!(captions, ["one, \"two\"\nthree"]);
    assert_eq!(reasons(&set, &folder), ["2.png: its caption is empty"]);
    write(folder.path().join("metadata.csv"), "name,words\n1.png,one\n").unwrap();
    let error = open(&folder, Captions::Written).unwrap_err().to_string();
    let wanted = "metadata.csv`: it has no column `file_name`, it has `name`, `words`";
    assert!(error.ends_with(wanted), "{error}");
}

#[test]
fn metadata_may_have_lists_other_names_windows_paths_and_numbers_that_json_does_not_know() {
    let images = [1, 2, 3, 4].map(|at| png([at; 3]));
    let lines = br#"{"file_name": "sub\\1.png", "text": ["one", "eins", null], "score": NaN}
{"image_file_name": "2.png", "text": "two", "size": -Infinity}
{"file_name": "3.png", "text": 3}
{"file_name": 4, "text": "four"}
"#;
    let folder = folder(&[
        ("sub/1.png", &images[0]),
        ("2.png", &images[1]),
        ("3.png", &images[2]),
        ("4.png", &images[3]),
        ("metadata.jsonl", lines),
    ]);
    let set = open(&folder, Captions::Written).unwrap();
    let mut captions: Vec<&str> = set.entries.iter().map(|entry| &entry.caption[..]).collect();
    captions.sort_unstable();
    assert_eq!(captions, ["eins", "one", "two"]);
    let mut found = reasons(&set, &folder);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "3.png: no caption: metadata.jsonl: line 3: its `text` is a number, wanted a text or a \
             list of texts",
            "4.png: no caption: neither `4.txt` nor a line of `metadata.jsonl` or \
             `metadata.csv`; in `metadata.jsonl`: line 4: its `file_name` is a number, wanted a text",
            "metadata.jsonl: line 4: its `file_name` is a number, wanted a text",
        ]
    );
}

#[test]
fn captions_stand_beside_images_under_several_names_and_the_first_that_is_not_empty_counts() {
    let images = [1, 2, 3, 4, 5].map(|at| png([at; 3]));
    let folder = folder(&[
        ("1.png", &images[0]),
        ("1.caption", b"one\r\nof many"),
        ("2.png", &images[1]),
        ("2.png.txt", b"two"),
        ("3.png", &images[2]),
        ("3.txt", b" "),
        ("3.json", br#"{"caption": ["three", "drei"], "score": NaN}"#),
        ("4.png", &images[3]),
        ("4.json", br#"{"width": 3}"#),
        ("5.png", &images[4]),
        ("5.JSON", br#"{"text": "five"}"#),
        ("Thumbs.db", b"x"),
        ("alone.txt", b"words"),
    ]);
    let set = open(&folder, Captions::Written).unwrap();
    let mut captions: Vec<&str> = set.entries.iter().map(|entry| &entry.caption[..]).collect();
    captions.sort_unstable();
    assert_eq!(captions, ["drei", "five", "one\nof many", "three", "two"]);
    assert_eq!(
        reasons(&set, &folder),
        [
            "4.png: its caption `4.json` has no `text`, it has `width`",
            "alone.txt: no image: nothing beside it has its name",
        ]
    );
}

#[test]
fn metadata_that_is_no_utf_8_is_an_error_that_names_file_and_line() {
    let lines = b"{\"file_name\": \"1.png\", \"text\": \"one\"}\n{\"file_name\": \"2.png\", \"text\": \"caf\xe9\"}\n";
    let files: [(&str, &[u8]); 3] =
        [("1.png", &png([0; 3])), ("1.txt", b"one"), ("metadata.jsonl", lines)];
    let folder = folder(&files);
    let error = open(&folder, Captions::Written).unwrap_err().to_string();
    assert!(error.contains("metadata.jsonl`: line 2 is not UTF-8"), "{error}");
    assert!(open(&folder, Captions::None).is_ok());
}
