//! Checks what the types of a recipe do not say and what no file needs to be read for, by field.

use mm_backbone::Precision;
use mm_codec::{CodecConfig, QuantizerConfig};
use mm_data::DataConfig;
use mm_diffusion::LossWeight;
use mm_model::{NetworkConfig, VitConfig};

use super::check::Checks;
use super::{BestBy, LossConfig, OptimizerKind, Recipe, Reduction, Represent};
use crate::RecipeError;

/// The number of characters of a value that are shown.
const SHOWN: usize = 100;

impl Recipe {
    /// Checks every field that can be wrong, and says all that is.
    pub fn validate(&self) -> Result<(), RecipeError> {
        let mut checks = Checks::default();
        self.validate_fields(&mut checks);
        let errors = checks.into_errors().into_iter().map(|why| match why {
            RecipeError::Field { field, wanted, .. } => self.refused(field, wanted),
            other => other,
        });
        RecipeError::of(errors.collect()).map_or(Ok(()), Err)
    }

    /// Returns the error that a field, by its dotted name, holds something else than wanted.
    pub(crate) fn refused(&self, field: &'static str, wanted: &'static str) -> RecipeError {
        RecipeError::Field { field, found: self.shown(field), wanted }
    }

    /// Returns a value as TOML writes it, and only the beginning of a long one.
    fn shown(&self, field: &str) -> String {
        let tree = self.tree().ok();
        let value =
            tree.as_ref().and_then(|tree| field.split('.').try_fold(tree, |at, part| at.get(part)));
        let text = value.map_or_else(|| "absent".to_owned(), toml::Value::to_string);
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{} ...", &text[..end]),
            None => text,
        }
    }

    fn validate_fields(&self, checks: &mut Checks) {
        checks.add(self.validate_integers());
        if !checks.are_clean() {
            return; // the sizes below are computed of these
        }
        let image = self.image.validate();
        let has_patches = image.is_ok();
        checks.add(image);
        checks.add(self.data.validate());
        if has_patches {
            self.validate_sizes(checks);
            self.validate_network(checks);
        }
        checks.add(self.loss.weight.validate().map_err(RecipeError::Diffusion));
        checks.add(self.loss.timesteps.validate().map_err(RecipeError::Diffusion));
        checks.add(self.sample.sampler.validate().map_err(RecipeError::Diffusion));
        checks.add(self.sample.guidance.validate().map_err(RecipeError::Diffusion));
        self.validate_mix(checks);
        let writes = self.vocab > 0 && !self.model.network.only_draws();
        let LossConfig { text, image, .. } = self.loss;
        checks.check("loss.text", text >= 0.0 && text.is_finite(), "0 or more, finite");
        checks.check("loss.image", image >= 0.0 && image.is_finite(), "0 or more, finite");
        let learns = image > 0.0 || writes && text > 0.0;
        checks.check("loss.image", learns, "above 0 where no text is a target");
        self.optimizer.validate(checks);
        self.run.validate(checks);
        let by_text = self.run.best == BestBy::Text;
        checks.check(
            "run.best",
            writes || !by_text,
            "`loss` or `image`, since the model writes no text",
        );
        checks.check("sample.steps", self.sample.steps > 0, "at least 1");
        checks.check("sample.count", self.sample.count > 0, "at least 1");
    }

    /// Checks the network, whose sizes follow from those of patches.
    fn validate_network(&self, checks: &mut Checks) {
        let codec = match &self.model.network {
            NetworkConfig::Latent(latent) => Some(&latent.codec),
            NetworkConfig::Vit(VitConfig::Dit(dit)) => dit.codec.as_ref(),
            _ => None,
        };
        if let Some(codec) = codec {
            let network = &codec.network;
            let levels = !network.block_out_channels.is_empty();
            let whole = levels && self.image.patch.is_multiple_of(network.factor());
            checks.check("image.patch", whole, "a multiple of the side of a cell of the codec");
        }
        if checks.are_clean() {
            checks.add(self.model_config(self.vocab).validate());
        }
        match &self.model.network {
            NetworkConfig::Unet(_) => self.validate_without_text(checks),
            NetworkConfig::Vit(vit) => self.validate_with_classes(vit, checks),
            NetworkConfig::Unified(_)
            | NetworkConfig::Codec(_)
            | NetworkConfig::Coded(_)
            | NetworkConfig::Latent(_) => {}
        }
        self.validate_codec(checks);
        self.validate_represent(checks);
    }

    /// Checks that the network is one of what images are represented as, and that nothing is asked
    /// that only denoising or only codes have.
    fn validate_represent(&self, checks: &mut Checks) {
        let network = &self.model.network;
        let (codes, bytes, latents) = match network {
            NetworkConfig::Coded(coded) => {
                (coded.codec().is_some(), coded.codec().is_none(), false)
            }
            NetworkConfig::Latent(_) => (false, false, true),
            _ => (false, false, false),
        };
        let (field, plain) = ("image.represent", !(codes || bytes || latents));
        let joined = network.unified().is_some();
        match self.represent {
            Represent::Patches => {
                checks.check(field, !codes, "codes, since `model.codec` has them");
                checks.check(field, !bytes, "bytes, since `model.bytes` says how");
                checks.check(field, !latents, "latents, since `model.codec` has them");
                let wanted = "absent, or `image.represent` = \"codes\" or \"latents\"";
                checks.check("image.codec", self.codec.is_none(), wanted);
            }
            Represent::Codes => {
                checks.check(field, plain || codes, "what the network of `model` is made for");
                let known = codes || self.codec.is_some();
                checks.check("image.codec", known, "a model folder that `mm train codec-fsq` made");
            }
            Represent::Latents => {
                checks.check(field, plain || latents, "what the network of `model` is made for");
                let known = latents || self.codec.is_some();
                checks.check("image.codec", known, "a model folder that `mm train codec-kl` made");
            }
            Represent::Bytes => {
                checks.check(field, plain || bytes, "what the network of `model` is made for");
                let none = self.codec.is_none();
                checks.check("image.codec", none, "absent, since bytes need no codec");
            }
        }
        let written = matches!(self.represent, Represent::Codes | Represent::Bytes);
        let wanted = "rows, since only codes and bytes are written one after another";
        checks.check("image.order", written || self.order.is_rows(), wanted);
        let masked = self.order.is_masked() && self.represent == Represent::Bytes;
        let wanted = "another, since bytes are written one after another";
        checks.check("image.order", !masked, wanted);
        let own = network.coded().map_or(self.order, |coded| coded.order);
        checks.check("image.order", own == self.order, "the order that `model.order` names");
        if self.represent == Represent::Patches {
            return;
        }
        checks.check(field, joined, "patches, unless there is a `backbone`");
        let whole = network.unified().is_none_or(|unified| !unified.patch_convolution);
        checks.check("model.patch_convolution", whole, "false, since patches are not of pixels");
        let wanted = "at least 389, since codes and latents stand beside words";
        checks.check("vocab", self.vocab > 0, wanted);
        if written {
            self.validate_written(checks);
        }
    }

    /// Checks that nothing is asked of images that are written code by code but what they have.
    fn validate_written(&self, checks: &mut Checks) {
        let unified = self.model.network.unified();
        let placed = unified.is_none_or(|unified| unified.patch_pos_embed == 0);
        checks.check("model.patch_pos_embed", placed, "0, since codes are tokens");
        let mean = self.loss.reduction == Reduction::Mean;
        checks.check("loss.reduction", mean, "mean, since codes are not denoised");
        let one = self.loss.weight == LossWeight::One;
        checks.check("loss.weight", one, "{ kind = \"one\" }, since codes are not denoised");
        let scale = self.sample.guidance.scale;
        checks.check("sample.guidance.scale", scale == 1.0, "1, since codes are not denoised")
    }

    /// Checks what a codec can be trained with, and that nothing else asks for what only a codec
    /// has.
    fn validate_codec(&self, checks: &mut Checks) {
        let latent = self.loss.latent;
        checks.check("loss.latent", latent >= 0.0 && latent.is_finite(), "0 or more, finite");
        let Some(codec) = self.model.network.codec() else {
            checks.check("loss.latent", latent == 0.0, "0, since only a `codec` has latents");
            let none = self.loss.adversarial == 0.0;
            checks.check("loss.adversarial", none, "0, since only a `codec` has a discriminator");
            return;
        };
        let quantizer = match codec {
            CodecConfig::Codes(codes) => Some(&codes.quantizer),
            _ => None,
        };
        match quantizer {
            Some(QuantizerConfig::Codebook(_)) => {
                checks.check("loss.latent", latent > 0.0, "above 0 for a codebook");
            }
            Some(_) => checks.check("loss.latent", latent == 0.0, "0, since nothing is learned"),
            None => {}
        }
        let judged = matches!(codec, CodecConfig::Codes(codes) if codes.discriminator.is_some());
        let adversarial = self.loss.adversarial;
        let weighed = if judged { adversarial > 0.0 } else { adversarial == 0.0 };
        let wanted = "above 0 beside a `discriminator`, and 0 without one";
        checks.check("loss.adversarial", weighed && adversarial.is_finite(), wanted);
        let kept = !self.run.activation_checkpointing;
        let wanted = "false, since nothing of a `codec` is computed again";
        checks.check("run.activation_checkpointing", kept, wanted);
        checks.check("loss.text", self.loss.text == 0.0, "0, since a `codec` writes no text");
        let plain = self.optimizer.kind != OptimizerKind::Muon;
        checks.check("optimizer.kind", plain, "adamw or lamb, since a `codec` has no matrices");
        let rank = self.optimizer.lora.rank;
        checks.check("optimizer.lora.rank", rank == 0, "0, since a `codec` has no blocks to adapt");
        let scale = self.sample.guidance.scale;
        checks.check("sample.guidance.scale", scale == 1.0, "1, since a `codec` knows no prompts")
    }

    /// Checks that the data and the model have the documents that get a share.
    fn validate_mix(&self, checks: &mut Checks) {
        let mix = &self.mix;
        for (field, shares) in [
            ("mix.draw", mix.draw),
            ("mix.read", mix.read),
            ("mix.finished", [mix.finished; 2]),
            ("mix.same_or_different", [mix.same_or_different; 2]),
            ("mix.which_one", [mix.which_one; 2]),
        ] {
            let holds = shares.iter().all(|share| (0.0..=1e6).contains(share));
            checks.check(field, holds, "0 to 1000000");
        }
        let two = mix.same_or_different + mix.which_one;
        let rest = two + mix.finished;
        let [first, last] = [0, 1].map(|end| mix.draw[end] + mix.read[end] + rest > 0.0);
        checks.check("mix", first, "some share above 0 at the first step");
        checks.check("mix", last, "some share above 0 at the last step");
        let only_draws = mix.read == [0.0, 0.0] && rest == 0.0;
        checks.check("mix", self.vocab > 0 || only_draws, "only `draw` where `vocab` is 0");
        let draws = mix.draw != [0.0, 0.0] || mix.finished > 0.0;
        let able = self.model.time != mm_model::TimeConfig::None || !draws;
        checks.check("mix", able, "only documents that are read where `model.time` is none");
        let glyphs = matches!(self.data, DataConfig::Glyphs(_));
        checks.check(
            "mix",
            glyphs || two == 0.0,
            "two-image documents only with the source `glyphs`",
        );
        checks.check("mix.caption_drop", (0.0..=1.0).contains(&mix.caption_drop), "0 to 1")
    }

    /// Checks that a network of classes only learns to draw.
    fn validate_with_classes(&self, vit: &VitConfig, checks: &mut Checks) {
        let mix = &self.mix;
        let others = [mix.read[0], mix.read[1], mix.finished, mix.same_or_different, mix.which_one];
        let wanted = "shares of only `draw`, since a `vit` reads nothing";
        checks.check("mix", others == [0.0; 5], wanted);
        let wanted = "0, since a `vit` has no text";
        checks.check("vocab", self.vocab == 0, wanted);
        checks.check("loss.text", self.loss.text == 0.0, wanted);
        let single = self.run.precision.fixed() == Precision::F32;
        checks.check("run.precision", single, "f32, since a `vit` computes in nothing else");
        let kept = !self.run.activation_checkpointing;
        let wanted = "false, since nothing of a `vit` is computed again";
        checks.check("run.activation_checkpointing", kept, wanted);
        let dropped = vit.classes().none || vit.classes().count == 0 || mix.caption_drop == 0.0;
        let wanted = "0, since this network has no embedding of no class";
        checks.check("mix.caption_drop", dropped, wanted);
        let encoded = matches!(vit, VitConfig::Dit(dit) if dit.codec.is_some());
        let pixels = vit.channels() == mm_patch::RGB_CHANNELS;
        let wanted = "of 3 channels, or with the `codec` of its latents, since records hold pixels";
        checks.check("model.vit", pixels || encoded, wanted);
    }

    /// Checks that a U-Net only learns to draw.
    fn validate_without_text(&self, checks: &mut Checks) {
        let mix = &self.mix;
        let others = [mix.read[0], mix.read[1], mix.finished, mix.same_or_different, mix.which_one];
        checks.check(
            "mix",
            others == [0.0; 5],
            "shares of only `draw`, since a `unet` reads nothing",
        );
        checks.check(
            "mix.caption_drop",
            mix.caption_drop == 1.0,
            "1, since a `unet` reads no captions",
        );
        checks.check("loss.text", self.loss.text == 0.0, "0, since a `unet` writes no text");
        let rank = self.optimizer.lora.rank;
        checks.check("optimizer.lora.rank", rank == 0, "0, since a `unet` has no blocks to adapt");
        let scale = self.sample.guidance.scale;
        checks.check("sample.guidance.scale", scale == 1.0, "1, since a `unet` knows no prompts")
    }
}
