//! A recipe of an earlier version is refused with the new names of its keys.

use crate::refused;

#[test]
fn an_old_key_in_a_recipe_file_or_in_a_setting_is_refused_with_its_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.toml");
    let text = include_str!("../../recipes/glyphs.toml");
    for (new, old, said_as) in [
        ("\nlr = ", "\nrate = ", "`optimizer.rate` is now `optimizer.lr`"),
        ("\nmicro_batches = ", "\nshards = ", "`run.shards` is now `run.micro_batches`"),
        (
            "\npatch_pos_embed = ",
            "\npatch_places = ",
            "`model.patch_places` is now `model.patch_pos_embed`",
        ),
    ] {
        assert!(text.contains(new), "{new}");
        fs_err::write(&file, text.replacen(new, old, 1)).unwrap();
        let said = refused(2, &["train", file.to_str().unwrap(), "--out", "x"]);
        assert!(said.contains(said_as), "{said}");
    }
    let said = refused(2, &["train", "glyphs", "--out", "x", "--set", "optimizer.warm_up=3"]);
    assert!(said.contains("`optimizer.warm_up` is now `optimizer.warmup_steps`"), "{said}");
}
