//! Tests of captions that are torn, missing or null.

use super::*;

#[test]
fn a_quote_that_is_not_closed_takes_no_rows_with_it() {
    let image = png([1; 3]);
    let of = |table: &[u8]| {
        let folder = folder(&[("0.png", &image), ("1.png", &image), ("metadata.csv", table)]);
        open(&folder, Captions::Written).map(|set| set.entries.iter().count())
    };
    let error = of(b"file_name,text\n0.png,\"a cat\n1.png,a dog\n").unwrap_err().to_string();
    assert!(error.ends_with("line 2: a quote opens here and is not closed"), "{error}");
    assert_eq!(
        of(b"file_name,text\n0.png,5\" wide\n 1.png ,\"a \"\"dog\"\"\nasleep\"\n").unwrap(),
        2
    );
    assert_eq!(of(b"file_name,text\n0.png,\"a \\\"dog\\\"\"\n1.png,a cat\n").unwrap(), 2);
}

#[test]
fn a_held_out_image_without_a_caption_is_not_trained_on_elsewhere() {
    let images: Vec<Vec<u8>> = (0..12).map(|at| png([at; 3])).collect();
    let names: Vec<[String; 2]> =
        (0..12).map(|at| ["png", "txt"].map(|ending| format!("train/{at}.{ending}"))).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("test/a.png", &images[3])];
    for ([image, words], bytes) in names.iter().zip(&images) {
        files.extend([(&image[..], &bytes[..]), (&words[..], b"a shade")]);
    }
    let folder = folder(&files);
    let set = open(&folder, Captions::Written).unwrap();
    assert_eq!((set.len(Split::Train), set.len(Split::HeldOut)), (Some(11), Some(0)));
}

#[test]
fn a_caption_that_is_null_gives_way_to_the_next_field() {
    let image = png([1; 3]);
    let folder = folder(&[
        ("0.png", &image),
        ("0.json", br#"{"text": null, "caption": "a cat"}"#),
        ("1.png", &image),
        ("1.json", br#"{"text": "", "caption": [" "]}"#),
    ]);
    let set = open(&folder, Captions::Written).unwrap();
    assert_eq!(set.entries.iter().count(), 1);
    assert_eq!(reasons(&set, &folder), ["1.png: its caption is empty"]);
}
