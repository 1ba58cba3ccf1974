//! Tests of all sources, and what the unit tests of several sources need.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::*;

/// Makes a folder with these files and their parents.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
    folder
}

/// Returns the example of an index of a source of images that draws no random numbers.
pub(crate) fn example(
    set: &dyn DataSource,
    split: Split,
    index: u64,
) -> Result<Example, DataError> {
    let example = set.example(split, index, &mut ChaCha8Rng::seed_from_u64(0))?;
    Ok(example.expect("a source of images"))
}

const SETTINGS: ImageSettings = ImageSettings { width: 32, height: 16, patch: 8 };

#[test]
fn every_embedded_source_gives_the_wanted_size_and_repeats_itself() {
    for config in
        [DataConfig::Glyphs(GlyphsConfig::default()), DataConfig::Emoji(EmojiConfig::default())]
    {
        let data = DataSet::open(&config, SETTINGS).unwrap();
        for split in Split::ALL {
            for index in [0, 1, 77, u64::MAX] {
                let example = || {
                    let mut rng = ChaCha8Rng::seed_from_u64(index);
                    data.example(split, index, &mut rng).unwrap().unwrap()
                };
                assert_eq!(example(), example());
                assert_eq!((example().image.width(), example().image.height()), (32, 16));
            }
        }
        assert_eq!(data.captions(), DataSet::open(&config, SETTINGS).unwrap().captions());
        assert!(data.skipped().is_empty());
    }
}

#[test]
fn sizes_that_are_not_whole_patches_are_refused() {
    let config = DataConfig::Glyphs(GlyphsConfig::default());
    let refusal = |settings| DataSet::open(&config, settings).unwrap_err().to_string();
    let wanted = "image size 32x16 is not made of whole patches of 5x5 pixels";
    assert_eq!(refusal(ImageSettings { patch: 5, ..SETTINGS }), wanted);
    assert!(refusal(ImageSettings { patch: 0, ..SETTINGS }).contains("0x0 pixels"));
    assert!(refusal(ImageSettings { width: 0, ..SETTINGS }).contains("size 0x16"));
}

#[test]
fn a_config_survives_toml_and_a_misspelled_key_is_named() {
    let text = "source = \"folder\"\npath = \"images\"\ncaptions = \"folders\"\n";
    let config: DataConfig = toml::from_str(text).unwrap();
    assert_eq!(toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let refusal = |text: &str| toml::from_str::<DataConfig>(text).unwrap_err().to_string();
    assert!(refusal("source = 'emoji'\ngruops = []").contains("`gruops`"));
    assert!(refusal("source = 'fodler'").contains("`fodler`"));
    assert!(refusal("source = 'folder'").contains("`path`"));
}
