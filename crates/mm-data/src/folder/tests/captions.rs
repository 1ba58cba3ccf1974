//! Where captions are found, and which of several is taken.

use super::*;

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
    let example = set.example(Split::Train, 3).unwrap();
    assert_eq!(
        (example.caption.as_str(), example.image),
        ("deep red", Image::filled(16, 8, [200, 10, 10]))
    );
}

#[test]
fn a_picture_with_several_lines_of_metadata_has_all_their_captions_in_one_part() {
    let names: Vec<String> = (0..20).map(|at| format!("{at}.png")).collect();
    let image = png([200, 10, 10]);
    let lines: String = ["one", "two", " "]
        .iter()
        .flat_map(|text| {
            names.iter().map(move |name| {
                format!("{}\n", serde_json::json!({ "file_name": name, "text": text }))
            })
        })
        .collect();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), image.as_slice())).collect();
    files.push(("metadata.jsonl", lines.as_bytes()));
    let folder = folder(&files);
    let set = open(&folder, Captions::Written).unwrap();
    assert_eq!((set.len(Split::Train), set.len(Split::HeldOut)), (36, 4));
    let (first, second) = (&set.held_out[0], &set.held_out[1]);
    assert_eq!((&first.path, &first.caption[..]), (&second.path, "one"));
    assert_eq!(second.caption, "two");
    assert_eq!((set.tally().items, set.skipped()), (20, vec![]));
    let slots = set.train.iter().chain(&set.held_out).map(|entry| entry.slot);
    assert!(slots.eq((0..20).flat_map(|slot| [slot; 2])), "a picture has one place in a cache");
}

#[test]
fn a_line_that_is_no_caption_or_stands_twice_leaves_the_others_of_its_picture() {
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
        reasons(&set, &folder)[0],
        "metadata.jsonl: line 2: it has no text `caption` (named by the setting `caption`), it has `file_name`"
    );
    let error = of("text").unwrap_err().to_string();
    assert!(
        error.ends_with(
            "line 1: it has no text `text` (named by the setting `caption`), it has `caption`, `file_name`"
        ),
        "{error}"
    );
    assert!(of("").unwrap_err().to_string().starts_with("`caption` is ``"));
}

#[test]
fn metadata_in_another_form_is_said_not_to_be_read() {
    let folder =
        folder(&[("1.png", &png([0; 3])), ("metadata.csv", b"file_name,text\n1.png,one\n")]);
    let error = open(&folder, Captions::Written).unwrap_err().to_string();
    assert!(
        error.ends_with("nor a line of `metadata.jsonl` (`metadata.csv` is not read)"),
        "{error}"
    );
    let set = open(&folder, Captions::None).unwrap();
    assert_eq!(
        reasons(&set, &folder),
        ["metadata.csv: not read: captions may be in `metadata.jsonl`"]
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
