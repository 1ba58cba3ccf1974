//! `mm data check`: what it says of a source, and when it fails; and how much of one may be broken
//! in a run.

use mm_patch::Image;
use tempfile::{TempDir, tempdir};

use super::{done, mm, refused, text};

/// A folder of ten captioned images, the first `broken` of them cut in half.
fn folder(broken: usize) -> TempDir {
    let folder = tempdir().unwrap();
    for at in 0..10 {
        let image = Image::filled(30 + at, 40, [at as u8; 3]).encode_png();
        let end = if at < broken { image.len() / 2 } else { image.len() };
        fs_err::write(folder.path().join(format!("{at}.png")), &image[..end]).unwrap();
        fs_err::write(folder.path().join(format!("{at}.txt")), format!("image {at}")).unwrap();
    }
    folder
}

#[test]
fn a_check_counts_names_what_is_broken_and_draws_a_sheet() {
    let folder = folder(1);
    let sheet = folder.path().join("sheet.bmp").display().to_string();
    let path = folder.path().display().to_string();
    let said =
        done(&["data", "check", &path, "--size", "32x16", "--patch", "4", "--sheet", &sheet]);
    for wanted in [
        "source = \"folder\"",
        "training 10, held out 0; 9 read",
        "images: 32x16 (9)",
        "bytes of text: 7 to 7",
        "bad records: 1 (10.00 %), 1 allowed",
        "0.png: ",
    ] {
        assert!(said.contains(wanted), "`{wanted}` in:\n{said}");
    }
    assert!(fs_err::metadata(&sheet).unwrap().len() > 1000);
    fs_err::remove_file(&sheet).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&done(&["data", "check", &path, "--json"])).unwrap();
    assert_eq!((json["bad"].as_u64(), json["sizes"]["64x64"].as_u64()), (Some(1), Some(9)));
}

#[test]
fn show_writes_the_fitted_pixels_of_a_record_and_prints_its_caption() {
    let folder = tempdir().unwrap();
    for name in ["a", "b", "d", "e", "f"] {
        let image = Image::filled(40, 30, [name.as_bytes()[0]; 3]).encode_png();
        fs_err::write(folder.path().join(format!("{name}.png")), image).unwrap();
        fs_err::write(folder.path().join(format!("{name}.txt")), format!("image {name}")).unwrap();
    }
    fs_err::write(folder.path().join("c.jpg"), b"\xFF\xD8\xFF\xE0 cut").unwrap();
    fs_err::write(folder.path().join("c.txt"), "cut").unwrap();
    let path = folder.path().display().to_string();
    let seen = tempdir().unwrap();
    let out = seen.path().join("1.bmp").display().to_string();
    let (mut shown, mut cut) = (0, 0);
    for record in 0.. {
        let record = record.to_string();
        let output =
            mm(&["data", "show", &path, "--size=32x16", "--out", &out, "--record", &record]);
        let (said, wrong) = (text(&output.stdout), text(&output.stderr));
        match output.status.code() {
            Some(0) => {
                let name = said.trim_end().strip_prefix("image ").unwrap();
                let seen = Image::decode(&fs_err::read(&out).unwrap(), &Default::default());
                assert_eq!(seen.unwrap(), Image::filled(32, 16, [name.as_bytes()[0]; 3]));
                fs_err::remove_file(&out).unwrap();
                shown += 1;
            }
            Some(1) => {
                assert!(wrong.contains("c.jpg") && wrong.contains("truncated"), "{wrong}");
                cut += 1;
            }
            _ => {
                let wanted = format!("`--record {record}`, the split has {record} records");
                assert!(wrong.contains(&wanted), "{wrong}");
                break;
            }
        }
    }
    assert!(shown >= 2 && cut == 1, "{shown} and {cut}");
}

#[test]
fn a_check_fails_when_more_is_broken_than_is_allowed_or_nothing_is_there() {
    let folder = folder(2);
    let path = folder.path().display().to_string();
    let output = super::mm(&["data", "check", &path]);
    let said = super::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("more records are bad than `max_bad` allows") && said.contains("hint:"),
        "{said}"
    );
    assert!(refused(2, &["data", "check", "nowhere"]).contains("the pattern `nowhere`"));
    let empty = tempdir().unwrap();
    let said = refused(2, &["data", "check", empty.path().to_str().unwrap()]);
    assert!(said.contains("the folder holds no files"), "{said}");
    assert!(refused(2, &["data", "check", &path, "--size", "9"]).contains("wanted WIDTHxHEIGHT"));
    assert!(refused(2, &["data", "check", &path, "--patch", "7"]).contains("whole patches of 7x7"));
}

#[test]
fn a_check_of_a_recipe_without_text_needs_no_vocabulary() {
    let images = folder(0);
    let recipes = tempdir().unwrap();
    let path = recipes.path().join("mine.toml");
    let text = done(&["data", "recipes", "su2024-64"]);
    let data = format!("path = '{}'", images.path().display());
    let text = text.replace("path = \"CelebA-HQ\"", &data);
    fs_err::write(&path, text).unwrap();
    let said = done(&["data", "check", path.to_str().unwrap()]);
    assert!(said.contains("training 10, held out 0"), "{said}");
}

#[test]
fn a_check_fails_as_a_run_does_when_files_are_missing() {
    let folder = tempdir().unwrap();
    let lines = "{\"text\": \"some words\"}\n".repeat(300);
    fs_err::write(folder.path().join("0.jsonl"), lines).unwrap();
    let files = folder.path().join("{0..2}.jsonl").display().to_string();
    let output = super::mm(&["data", "check", &files]);
    let [said, failed] = [&output.stdout, &output.stderr].map(|bytes| super::text(bytes));
    assert_eq!(output.status.code(), Some(1), "{said}{failed}");
    assert!(
        said.contains("bad files: 2 of 3, 2.00 counted by lost content, 0.03 allowed"),
        "{said}"
    );
    assert!(failed.contains("more records are bad than `max_bad` allows"), "{failed}");
}

#[test]
fn how_much_may_be_broken_is_a_flag_where_something_can_be() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run").display().to_string();
    let said = |share: &str, source: &str| {
        refused(2, &["train", "glyphs", "--out", &out, "--max-bad", share, "--set", source])
    };
    let glyphs = said("1%", "seed=1");
    for wanted in ["`--max-bad`", "`data.max_bad`", "`glyphs` has none", "wanted folder"] {
        assert!(glyphs.contains(wanted), "`{wanted}` in:\n{glyphs}");
    }
    let drawn =
        "data={ source = \"mixture\", parts = [{ weight = 1.0, data = { source = \"emoji\" } }] }";
    assert!(said("0.01", drawn).contains("`mixture` has none"));
    let wrong = said("5", "seed=1");
    for wanted in ["'5'", "'--max-bad <SHARE>'", "wanted 0 to 1 such as 0.01"] {
        assert!(wrong.contains(wanted), "`{wanted}` in:\n{wrong}");
    }
    let resumed = refused(2, &["train", "--out", &out, "--resume", "--max-bad", "1%"]);
    assert!(resumed.contains("cannot be used with"), "{resumed}");
}

#[test]
fn what_is_passed_over_fails_a_strict_check_alone() {
    let folder = folder(0);
    let path = folder.path().display().to_string();
    done(&["data", "check", &path, "--strict"]);
    fs_err::write(folder.path().join("notes.md"), "words").unwrap();
    done(&["data", "check", &path]);
    let output = super::mm(&["data", "check", &path, "--strict"]);
    let said = super::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 left out, and `--strict` allows none"), "{said}");
}

#[test]
fn a_recipe_is_written_for_a_folder_and_taken_from_wherever_it_lies() {
    let root = tempdir().unwrap();
    fs_err::create_dir(root.path().join("images")).unwrap();
    for at in 0..30 {
        let image = Image::filled(96, 48, [at; 3]).encode_png();
        let name = |ending: &str| root.path().join(format!("images/{at}.{ending}"));
        fs_err::write(name("png"), image).unwrap();
        fs_err::write(name("caption"), format!("shade {at}")).unwrap();
    }
    let images = root.path().join("images").display().to_string();
    let recipe = root.path().join("mine.toml").display().to_string();
    let said = done(&["init", &images, "--out", &recipe]);
    for wanted in ["a folder of images", "about 96x48", "captions (written)", "images of 88x48"] {
        assert!(said.contains(wanted), "`{wanted}` in:\n{said}");
    }
    let text = fs_err::read_to_string(&recipe).unwrap();
    assert!(text.contains("path = \"images\"") && text.contains("vocab = 512"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&done(&["data", "check", &recipe, "--json"])).unwrap();
    assert_eq!((json["read"].as_u64(), json["bad"].as_u64()), (Some(30), Some(0)));
    assert!(done(&["plan", &recipe]).contains("parameters"));
    assert!(refused(2, &["init", &images, "--out", &recipe]).contains("mine.toml"));
    let sized = ["init", &images, "--out", &recipe, "--size", "32x32", "--force"];
    assert!(done(&sized).contains("images of 32x32"));
    assert!(refused(2, &["init", "nowhere", "--out", &recipe, "--force"]).contains("nowhere"));
}

#[test]
fn a_table_whose_parser_panics_is_named_without_the_words_of_the_panic() {
    let table = "/../../tests/fuzz/corpus/parquet/page-past-its-end.parquet";
    let output = mm(&["data", "check", &format!("{}{table}", env!("CARGO_MANIFEST_DIR"))]);
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{wrong}");
    let all = format!("{said}{wrong}");
    assert!(all.contains("page-past-its-end.parquet") && !all.contains("panicked"), "{all}");
}
