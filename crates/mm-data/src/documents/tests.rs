//! Tests of whole documents from files.

use std::fmt::Write as _;

use mm_patch::Image;
use proptest::prelude::*;
use rand::SeedableRng;
use tempfile::TempDir;

use super::*;
use crate::testing::folder;
use crate::{DataConfig, DataSet, EmojiConfig, MixtureConfig, Part};

const SETTINGS: ImageSettings = ImageSettings { width: 16, height: 16, patch: 8 };

fn config(folder: &TempDir) -> DocumentsConfig {
    DocumentsConfig::of(vec![folder.path().display().to_string()])
}

fn document(set: &DocumentSet, split: Split, index: u64) -> Result<Document, DataError> {
    match set.record(split, index, &mut ChaCha8Rng::seed_from_u64(0))? {
        Record::Whole(document) => Ok(document),
        Record::Captioned(example) => panic!("{example:?}"),
    }
}

fn all(set: &DocumentSet) -> Vec<Document> {
    let of = |split| (0..set.len(split).unwrap()).map(move |at| document(set, split, at).unwrap());
    Split::ALL.into_iter().flat_map(of).collect()
}

#[test]
fn a_line_becomes_its_segments_with_images_from_files_and_data_uris() {
    use base64::Engine;
    let png = Image::filled(40, 40, [9, 8, 7]).encode_png();
    let uri = base64::engine::general_purpose::STANDARD.encode(&png);
    let line = format!(
        r#"{{"segments": [{{"text": "one "}}, {{"image": "a.png", "loss": false}}, {{"image": "data:image/png;base64,{uri}"}}]}}"#
    );
    let folder = folder(&[("a.png", &png), ("x.jsonl", line.as_bytes())]);
    let set = DocumentSet::open(&config(&folder), SETTINGS).unwrap();
    let image = Image::filled(16, 16, [9, 8, 7]);
    let segments = vec![
        Segment::target_text("one "),
        Segment::context_image(image.clone()),
        Segment::target_image(image),
    ];
    assert_eq!(all(&set), [Document { segments }]);
    assert_eq!(set.captions(), ["one \n\n"]);
}

#[test]
fn long_texts_are_cut_into_documents_that_hold_all_of_it() {
    let words: String = (0..300).fold(String::new(), |mut text, at| {
        let _ = write!(text, "wörd{at}{}", if at % 7 == 0 { "\n" } else { " " });
        text
    });
    let line = serde_json::json!({ "text": words }).to_string();
    let folder = folder(&[("a.txt", words.as_bytes()), ("b.jsonl", line.as_bytes())]);
    let set = DocumentSet::open(&DocumentsConfig { longest: 100, ..config(&folder) }, SETTINGS);
    let set = set.unwrap();
    let mut bytes = 0;
    for document in all(&set) {
        let [Segment::Text { text, target: true }] = document.segments.as_slice() else {
            panic!("one text as target, found {document:?}");
        };
        assert!(text.len() <= 100 && words.contains(text.as_str()), "{text:?}");
        bytes += text.len();
    }
    assert_eq!(bytes, 2 * words.len());
    assert!(set.len(Split::HeldOut) > Some(0));
}

#[test]
fn broken_lines_and_images_are_named_and_limited() {
    let mut lines = String::new();
    for at in 0..60 {
        let _ = writeln!(lines, r#"{{"text": "number {at}"}}"#);
    }
    lines += "\nnot json\n{\"segments\": [{\"image\": \"gone.png\"}]}\n{\"text\": \" \"}\n";
    let folder = folder(&[("a.jsonl", lines.as_bytes()), ("b.txt", b"latin caf\xe9")]);
    let with =
        |max_bad| DocumentSet::open(&DocumentsConfig { max_bad, ..config(&folder) }, SETTINGS);
    let set = with(0.1).unwrap();
    let count = all(&set).len();
    let whys: Vec<String> = set.skipped().into_iter().map(|skipped| skipped.why).collect();
    assert_eq!((count, set.bad()), (61, 4));
    assert!(
        whys[0].starts_with("at byte") && whys[0].contains("segment 1: cannot read"),
        "{whys:?}"
    );
    assert!(whys[1].starts_with("line 62: expected ident"), "{whys:?}");
    assert_eq!(whys[2], "line 64: its text is empty");
    assert_eq!(whys[3], "it is not UTF-8 at byte 9");
    assert!(with(0.01).unwrap_err().to_string().starts_with("3 of 64 items of the documents"));
}

#[test]
fn a_line_that_is_too_long_is_broken_alone() {
    let mut lines = vec![b'x'; MOST_LINE_BYTES as usize + 9];
    lines.extend(b"\n{\"text\": \"after it\"}\n");
    let mut whys = vec![];
    let found = line_entries(lines.as_slice(), 100, &mut |why| whys.push(why)).unwrap();
    assert_eq!(whys, ["line 1 is longer than 67108864 bytes"]);
    let [Found { form: Form::Piece(0), span, .. }] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(&lines[span.at as usize..], b"{\"text\": \"after it\"}\n");
}

#[test]
fn a_byte_that_is_no_text_breaks_its_stretch_alone() {
    let mut book = "a line of it\n".repeat(100).into_bytes();
    book[655] = 0xe9;
    let mut whys = vec![];
    let found = plain_entries(book.as_slice(), 30, &mut |why| whys.push(why)).unwrap();
    assert_eq!((found.len(), whys), (49, vec!["it is not UTF-8 at byte 655".to_owned()]));
    // Without white space a stretch ends between characters, also one behind a broken byte.
    let mut signs = "\u{6f22}".repeat(40).into_bytes();
    signs[4] = 0xff;
    let mut broken = 0;
    let found = plain_entries(signs.as_slice(), 31, &mut |_| broken += 1).unwrap();
    assert_eq!((found.len(), broken), (3, 1));
}

#[test]
fn files_that_are_not_there_count_as_files_and_not_as_lines() {
    let lines = "{\"text\": \"some words\"}\n".repeat(200);
    let folder = folder(&[("x-0.jsonl", lines.as_bytes())]);
    let with = |max_bad| {
        let files = vec![folder.path().join("x-{0..2}.jsonl").display().to_string()];
        DocumentSet::open(&DocumentsConfig { max_bad, ..DocumentsConfig::of(files) }, SETTINGS)
    };
    let error = with(0.5).unwrap_err().to_string();
    assert!(error.starts_with("2 of 3 files of the documents data set are broken"), "{error}");
    assert!(error.contains("`max_bad` allows 1") && error.contains("x-2.jsonl"), "{error}");
    let tally = with(0.7).unwrap().tally();
    assert_eq!((tally.items, tally.bad, tally.files, tally.bad_files), (202, 2, 3, 2));
}

#[cfg(unix)]
#[test]
fn an_image_that_is_no_regular_file_is_broken_and_not_read_without_end() {
    let line = br#"{"segments": [{"image": "/dev/zero"}]}"#;
    let folder = folder(&[("a.jsonl", line)]);
    let set = DocumentSet::open(&config(&folder), SETTINGS).unwrap();
    let split = Split::ALL.into_iter().find(|split| set.len(*split) == Some(1)).unwrap();
    let error = document(&set, split, 0).unwrap_err().to_string();
    assert!(error.ends_with("segment 1: `/dev/zero` is no regular file"), "{error}");
}

#[test]
fn nothing_to_read_is_an_error_that_names_the_first_reason() {
    let folder = folder(&[("a.jsonl", b"[]\n")]);
    let error = DocumentSet::open(&config(&folder), SETTINGS).unwrap_err().to_string();
    assert!(
        error.starts_with("the documents data set is empty") && error.contains("line 1"),
        "{error}"
    );
    let given = br#"{"segments": [{"text": "a question", "loss": false}]}"#;
    let folder = crate::testing::folder(&[("a.jsonl", given)]);
    let error = DocumentSet::open(&config(&folder), SETTINGS).unwrap_err().to_string();
    assert!(error.contains("a.jsonl`: line 1: nothing in it is a target"), "{error}");
    let long = DocumentsConfig { longest: 3, ..config(&folder) };
    assert_eq!(
        long.validate().unwrap_err().to_string(),
        "`longest` is `3`, wanted at least 4 bytes"
    );
    assert!(DocumentsConfig::of(vec![]).validate().is_err());
}

#[test]
fn what_a_run_cannot_train_on_is_told_before_its_first_step() {
    const WIDE: ImageSettings = ImageSettings { width: 32, height: 16, patch: 8 };
    let folder = tempfile::tempdir().unwrap();
    let why = |name: &str, text: &str, vocab| {
        fs_err::write(folder.path().join(name), text).unwrap();
        let files = vec![folder.path().join(name).display().to_string()];
        let emoji = DataConfig::Emoji(EmojiConfig::default());
        let parts = [emoji, DataConfig::Documents(DocumentsConfig::of(files))];
        let parts = parts.map(|data| Part::of(1.0, data));
        let config = DataConfig::Mixture(MixtureConfig { parts: parts.to_vec() });
        let data = DataSet::open(&config, WIDE).unwrap();
        data.check_trainable(vocab).map_err(|why| why.to_string())
    };
    let line = |at: u32| serde_json::json!({ "text": at.to_string() }).to_string();
    let of = |line: &String| Split::of_hash(hash_bytes(line.as_bytes()));
    let text = (0..).map(line).find(|line| of(line) == Split::Train).unwrap();
    let image = r#"{"segments": [{"image": "0.png"}]}"#;
    let empty = "the train split of the documents data set is empty";
    assert_eq!(why("val.jsonl", &text, 416).unwrap_err(), empty);
    assert_eq!((why("a.jsonl", &text, 416), why("a.jsonl", image, 0)), (Ok(()), Ok(())));
    let wordy = why("a.jsonl", &format!("{image}\n{text}"), 0).unwrap_err();
    let wanted = format!("a.jsonl`: the document at byte {} is not one image", image.len() + 1);
    assert!(wordy.contains(&wanted), "{wordy}");
}

#[test]
fn a_line_of_an_image_with_captions_is_a_record_with_each_of_them() {
    let png = Image::filled(40, 40, [9, 8, 7]).encode_png();
    let line = br#"{"image": "deep\\a.png", "text": ["a cat", "ein Kater"]}"#;
    let folder = folder(&[("deep/a.png", &png), ("x.jsonl", line)]);
    let set = DocumentSet::open(&config(&folder), SETTINGS).unwrap();
    let image = Image::filled(16, 16, [9, 8, 7]);
    for (at, caption) in ["a cat", "ein Kater"].into_iter().enumerate() {
        let found = crate::testing::example(&set, Split::Train, at as u64).unwrap();
        assert_eq!(found, Example { image: image.clone(), caption: caption.to_owned() });
    }
    assert_eq!(set.captions(), ["a cat\n", "ein Kater\n"]);
}

#[test]
fn lines_with_the_same_image_stand_on_one_side() {
    let mut lines = String::new();
    let names: Vec<String> = (0..60).map(|at| format!("{at}.png")).collect();
    for at in 0..180 {
        let _ = writeln!(lines, r#"{{"image": "{}", "text": "line {at}"}}"#, names[at % 60]);
    }
    // Of the files, each is there twice: 0.png is 30.png.
    let images: Vec<Vec<u8>> =
        (0..60).map(|at| Image::filled(16, 16, [at % 30; 3]).encode_png()).collect();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().zip(&images).map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    files.push(("x.jsonl", lines.as_bytes()));
    let folder = folder(&files);
    let set = DocumentSet::open(&config(&folder), SETTINGS).unwrap();
    let shades = Split::ALL.map(|split| -> std::collections::BTreeSet<u8> {
        let all = 0..set.len(split).unwrap();
        all.map(|at| crate::testing::example(&set, split, at).unwrap().image.pixel(0, 0)[0])
            .collect()
    });
    assert!(shades[0].is_disjoint(&shades[1]), "{shades:?}");
    assert_eq!(shades[0].len() + shades[1].len(), 30);
}

#[test]
fn a_mark_at_the_start_of_plain_text_is_no_text_and_its_lines_end_alike() {
    let text = "\u{feff}first line\r\nsecond line\r\n";
    let folder = folder(&[("a.txt", text.as_bytes())]);
    let set = DocumentSet::open(&config(&folder), SETTINGS).unwrap();
    assert_eq!(set.captions(), ["first line\nsecond line\n"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_bytes_are_documents_or_broken_lines(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        longest in 4_usize..40,
    ) {
        let mut broken = 0;
        let lines = line_entries(noise.as_slice(), longest, &mut |_| broken += 1).unwrap();
        let shown = noise.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        prop_assert!(lines.len() + broken >= shown.count());
        for Found { span, .. } in plain_entries(noise.as_slice(), longest, &mut |_| ()).unwrap() {
            prop_assert!(span.bytes as usize <= longest);
            let stretch = &noise[span.at as usize..(span.at + span.bytes) as usize];
            prop_assert!(std::str::from_utf8(stretch).is_ok());
        }
    }

    #[test]
    fn plain_text_is_cut_between_characters(text in "[a-dä€😀 \n]{0,200}", longest in 4_usize..40) {
        let found = plain_entries(text.as_bytes(), longest, &mut |_| panic!("it is text")).unwrap();
        for Found { span, .. } in &found {
            let stretch = text.get(span.at as usize..(span.at + span.bytes) as usize);
            prop_assert!(stretch.is_some_and(|text| text.len() <= longest));
        }
        let kept: u64 = found.iter().map(|one| one.span.bytes).sum();
        prop_assert!(kept as usize >= text.replace([' ', '\n'], "").len());
    }
}
