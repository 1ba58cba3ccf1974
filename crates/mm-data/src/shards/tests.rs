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
        let set = ShardSet::open(&config, SETTINGS).map_err(|why| why.to_string())?;
        example(&set, Split::Train, 0).map_err(|why| why.to_string())
    };
    assert_eq!(of("title").unwrap().caption, "seven");
    let why = of("caption").unwrap_err();
    let wanted = "its json: its `caption` is a number, wanted a text or a list of texts";
    assert!(why.ends_with(wanted), "{why}");
    let why = of("words").unwrap_err();
    assert!(why.ends_with("its json: it has no `words`, it has `caption`, `title`"), "{why}");
}

/// What is left out of the only shard of a set, without the shard's name and the places.
fn left_out(members: &[(&str, &[u8])]) -> (usize, usize, Vec<String>) {
    let folder = folder(&[("x.tar", &tar(members))]);
    let config = WebdatasetConfig { max_bad: 1.0, ..config(&folder, "x.tar") };
    let set = ShardSet::open(&config, SETTINGS).unwrap();
    let whys = set.skipped().into_iter().map(|skipped| match skipped.why.split_once(" at byte ") {
        Some((key, why)) => format!("{key}{}", &why[why.find(':').unwrap()..]),
        None => skipped.why,
    });
    (set.entries.iter().count(), set.bad(), whys.collect())
}

#[test]
fn an_image_or_words_alone_are_lost_and_other_members_passed_over() {
    let image = png(1);
    let members: [(&str, &[u8]); 9] = [
        ("1.png", &image),
        ("1.txt", b"one"),
        ("2.png", &image),
        ("3.txt", b"three"),
        ("README", b"words"),
        ("notes.md", b"words"),
        ("._1.png", b"macOS"),
        ("1.png", &image),
        ("1.txt", b"one again"),
    ];
    let wanted = [
        "`2`: no caption: neither .txt nor .json beside the image",
        "`3`: no image",
        "`notes`: no image",
        "members without an ending are not used: 1",
    ];
    assert_eq!(left_out(&members), (2, 2, wanted.map(str::to_owned).to_vec()));
    let bytes = tar(&members);
    let Index { samples, cut, .. } = index(Cursor::new(&bytes), bytes.len() as u64, true);
    let keys: Vec<&str> = samples.iter().map(|sample| &*sample.key).collect();
    assert_eq!((keys, cut), (vec!["1", "1#2"], None));
    assert_eq!(index(Cursor::new(&bytes), bytes.len() as u64, false).samples.len(), 3);
}

#[test]
fn links_sparse_files_and_what_follows_the_end_are_named_and_a_contiguous_file_is_read() {
    let image = png(1);
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8], kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        if kind.is_hard_link() || kind.is_symlink() {
            header.set_link_name("1.png").unwrap();
        }
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    add("1.png", &image, tar::EntryType::Continuous);
    add("1.txt", b"one", tar::EntryType::Regular);
    add("2.png", b"", tar::EntryType::Link);
    add("2.txt", b"two", tar::EntryType::Regular);
    add("3.png", &image, tar::EntryType::Regular);
    add("3.txt", b"", tar::EntryType::Symlink);
    add("./GNUSparseFile.7/4.png", &image, tar::EntryType::Regular);
    let first = builder.into_inner().unwrap();
    let folder = folder(&[("x.tar", &[&first[..], &shard(3)].concat())]);
    let config = WebdatasetConfig { max_bad: 1.0, ..config(&folder, "x.tar") };
    let set = ShardSet::open(&config, SETTINGS).unwrap();
    assert_eq!(set.entries.iter().count(), 1);
    let whys: String = set.skipped().iter().map(|one| format!("{}\n", one.why)).collect();
    for wanted in [
        "its `.png` is a link, which is not followed",
        "its `.txt` is a link, which is not followed",
        "a sparse file, which is not read",
        "behind its closing blocks, wanted one archive in a file",
    ] {
        assert!(whys.contains(wanted), "{wanted}: {whys}");
    }
    assert_eq!((set.bad(), set.tally().bad_files), (4, 1));
}

#[test]
fn names_that_are_not_utf8_stay_apart() {
    let member = |name: &[u8], bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        let mut block = [header.as_bytes(), bytes].concat();
        block.resize(block.len().next_multiple_of(512), 0);
        block
    };
    let image = png(1);
    let members = [
        member(b"caf\xe9.png", &image),
        member(b"caf\xe8.txt", b"another"),
        member(b"th\xe9.png", &image),
        member(b"th\xe9.txt", b"tea"),
        vec![0; 1024],
    ];
    let bytes = members.concat();
    let Index { samples, incomplete, .. } = index(Cursor::new(&bytes), bytes.len() as u64, true);
    let keys: Vec<&str> = samples.iter().map(|sample| &*sample.key).collect();
    assert_eq!((keys, incomplete.len()), (vec!["th\\xe9"], 2));
}

#[test]
fn compressed_shards_are_refused_by_the_name_of_their_compression() {
    for (first, name) in [(&b"\x1F\x8B\x08"[..], "gzip"), (b"\x28\xB5\x2F\xFD", "Zstandard")] {
        let folder = folder(&[("x.tar.zst", first), ("y.tar", &shard(2))]);
        let error = ShardSet::open(&config(&folder, ""), SETTINGS).unwrap_err().to_string();
        assert!(error.contains(&format!("compressed by {name}, wanted a plain tar")), "{error}");
    }
}

#[test]
fn a_held_out_image_without_words_is_not_trained_on_elsewhere() {
    let train = shard(20);
    let test = tar(&[("7.png", &png(7)), ("7.txt", b" "), ("8.png", &png(8)), ("8.txt", b"eight")]);
    let folder = folder(&[("train.tar", &train), ("test.tar", &test)]);
    let config = WebdatasetConfig { max_bad: 0.5, ..config(&folder, "") };
    let set = ShardSet::open(&config, SETTINGS).unwrap();
    assert_eq!((set.len(Split::Train), set.len(Split::HeldOut)), (Some(18), Some(1)));
}

#[test]
fn a_key_with_a_dot_is_lost_and_told_of_the_first_dot() {
    let image = png(1);
    let members: [(&str, &[u8]); 8] = [
        ("a.b.png", &image),
        ("a.b.txt", b"of b"),
        ("a.c.png", &image),
        ("a.c.txt", b"of c"),
        ("v1.0/d.png", &image),
        ("v1.0/d.mask.png", &image),
        ("v1.0/d.txt", b"of d"),
        ("v1.0/d.cls", b"3"),
    ];
    let (good, bad, whys) = left_out(&members);
    assert_eq!((good, bad), (1, 2));
    for (why, ending) in whys.iter().zip(["`.b.png`", "`.c.png`"]) {
        let wanted = "`a`: no image: a key ends at the first dot of a name";
        assert!(why.starts_with(wanted) && why.contains(ending), "{whys:?}");
    }
    assert_eq!(whys[2], "members that end in `.mask.png` are not used: 1");
}

#[test]
fn neighbours_with_the_same_key_are_lost_each_and_so_are_several_images_of_a_key() {
    let image = png(1);
    let twice: [(&str, &[u8]); 6] = [
        ("x.png", &image),
        ("x.txt", b"one"),
        ("x.png", &image),
        ("x.txt", b"two"),
        ("y.png", &image),
        ("y.txt", b"three"),
    ];
    let (good, bad, whys) = left_out(&twice);
    assert_eq!((good, bad), (1, 2));
    assert!(whys.iter().all(|why| why.contains("`x.png` stands several times")), "{whys:?}");
    let several: [(&str, &[u8]); 5] = [
        ("x.png", &image),
        ("x.jpg", &image),
        ("x.txt", b"one"),
        ("y.png", &image),
        ("y.txt", b"three"),
    ];
    let why = "`x`: it has several images, `.png`, `.jpg`, wanted one".to_owned();
    assert_eq!(left_out(&several), (1, 1, vec![why]));
}

#[test]
fn a_source_that_loses_more_samples_than_the_limit_is_refused() {
    let names: Vec<String> = (0..10).map(|at| format!("{at}.png")).collect();
    let image = png(1);
    let mut members: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), image.as_slice())).collect();
    members.insert(1, ("0.txt", b"zero"));
    let folder = folder(&[("x.tar", &tar(&members))]);
    let with = |max_bad| {
        ShardSet::open(&WebdatasetConfig { max_bad, ..config(&folder, "x.tar") }, SETTINGS)
    };
    let error = with(0.5).unwrap_err().to_string();
    assert!(error.starts_with("9 of 10 items of the webdataset data set are broken"), "{error}");
    assert_eq!(with(0.9).unwrap().len(Split::Train), Some(1));
}

#[test]
fn each_caption_of_a_list_is_a_record_and_an_empty_text_gives_way_to_json() {
    let images = [png(1), png(2), png(3)];
    let members: [(&str, &[u8]); 7] = [
        ("1.png", &images[0]),
        ("1.json", br#"{"caption": ["one", null, "eins"], "score": NaN}"#),
        ("2.png", &images[1]),
        ("2.txt", b" \n"),
        ("2.json", br#"{"caption": "two"}"#),
        ("3.png", &images[2]),
        ("3.json", br#"{"caption": null}"#),
    ];
    let folder = folder(&[("train/x.tar", &tar(&members)), ("test/._x.tar", b"macOS")]);
    let config = WebdatasetConfig { max_bad: 0.3, ..config(&folder, "") };
    let set = ShardSet::open(&config, SETTINGS).unwrap();
    let mut found: Vec<(u8, String)> = Vec::new();
    for split in Split::ALL {
        for at in 0..set.len(split).unwrap() {
            let Example { image, caption } = example(&set, split, at).unwrap();
            found.push((image.pixel(3, 3)[0], caption));
        }
    }
    found.sort();
    let wanted =
        [(1, "eins"), (1, "one"), (2, "two")].map(|(shade, text)| (shade, text.to_owned()));
    assert_eq!(found, wanted);
    let whys: Vec<String> = set.skipped().into_iter().map(|skipped| skipped.why).collect();
    assert!(whys.len() == 1 && whys[0].ends_with("its caption is empty"), "{whys:?}");
}

#[test]
fn equal_images_stand_on_one_side_and_a_name_that_says_held_out_is_never_trained_on() {
    let names: Vec<String> = (0..240).map(|at| format!("{at:03}")).collect();
    let members: Vec<(String, Vec<u8>)> = names
        .iter()
        .enumerate()
        .flat_map(|(at, name)| {
            let image = png((at % 120) as u8);
            [(format!("{name}.png"), image), (format!("{name}.txt"), name.clone().into_bytes())]
        })
        .collect();
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let both = |folder: &TempDir| {
        let set = ShardSet::open(&config(folder, ""), SETTINGS).unwrap();
        let skipped = set.skipped().len();
        let shades = Split::ALL.map(|split| -> std::collections::BTreeSet<u8> {
            let all = 0..set.len(split).unwrap();
            all.map(|at| example(&set, split, at).unwrap().image.pixel(3, 3)[0]).collect()
        });
        (shades, skipped)
    };
    let ([train, held_out], skipped) = both(&folder(&[("x.tar", &tar(&members))]));
    assert!(train.is_disjoint(&held_out) && train.len() + held_out.len() == 120);
    assert!((4..24).contains(&held_out.len()) && skipped == 0, "{held_out:?}");
    let named = folder(&[("a.tar", &tar(&members)), ("deep/val-0.tar", &tar(&members[..20]))]);
    let ([train, held_out], skipped) = both(&named);
    assert!(train.is_disjoint(&held_out) && held_out.len() == 10 && train.len() == 110);
    assert_eq!(skipped, 20, "both of each of the ten are left out of training, and named");
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
