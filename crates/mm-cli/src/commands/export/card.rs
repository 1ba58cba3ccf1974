//! The model card: what a folder on the Hub says of itself, in `README.md`.

use std::fmt;

use mm_model::LoadedModel;
use serde_json::{Map, Value};

/// The file of the grid of samples, beside the card.
pub const SAMPLES: &str = "samples.png";

/// What one `mm eval --json` measured.
pub struct Results {
    /// The name, which is that of the file.
    pub name: String,
    pub values: Map<String, Value>,
}

/// What a card tells.
pub struct Card<'a> {
    pub name: &'a str,
    pub license: &'a str,
    pub model: &'a LoadedModel,
    pub parameters: usize,
    /// The recipe, where the model folder has one.
    pub recipe: Option<&'a str>,
    pub results: &'a [Results],
    pub has_samples: bool,
}

impl fmt::Display for Card<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Card { name, license, model, parameters, recipe, results, has_samples } = self;
        let (width, height) = (model.generation.width, model.generation.height);
        let does = if model.config.has_text() {
            "reads and draws images and writes text"
        } else {
            "draws images"
        };
        writeln!(f, "---\nlicense: {license}\nlibrary_name: transformers\ntags:\n- mm")?;
        writeln!(f, "- image-generation\n- pixel-space-diffusion\n---\n\n# {name}\n")?;
        writeln!(
            f,
            "A transformer of {parameters} parameters that {does}. It takes raw pixels, in patches \
             of {0}x{0}, without an image tokenizer; its images have {width}x{height} pixels. It \
             was trained with `mm` and is loaded by its own code in `modeling_mm.py`.\n",
            model.config.patch
        )?;
        if *has_samples {
            writeln!(f, "![Samples over real images of the same captions]({SAMPLES})\n")?;
        }
        self.usage(f)?;
        writeln!(f, "## Results\n")?;
        if results.is_empty() {
            writeln!(f, "Nothing was measured for this card.\n")?;
        }
        for Results { name, values } in *results {
            writeln!(f, "`{name}`, as `mm eval --json` printed it:\n")?;
            table(f, values)?;
        }
        writeln!(f, "## Training\n")?;
        match recipe {
            Some(recipe) => writeln!(f, "The recipe, data included:\n\n```toml\n{recipe}```"),
            None => writeln!(f, "The recipe was not in the model folder."),
        }
    }
}

impl Card<'_> {
    fn usage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        writeln!(f, "## Use\n\n```python")?;
        writeln!(f, "from transformers import AutoModel, AutoTokenizer\n")?;
        writeln!(f, "model = AutoModel.from_pretrained(\"{name}\", trust_remote_code=True)")?;
        writeln!(
            f,
            "tokenizer = AutoTokenizer.from_pretrained(\"{name}\", trust_remote_code=True)"
        )?;
        if self.model.config.has_text() {
            writeln!(
                f,
                "image = model.draw(tokenizer, [\"a caption\"], seed=0)  # [height, width, 3]"
            )?;
            writeln!(f, "print(model.read(tokenizer, [image]))")?;
        } else {
            writeln!(f, "image = model.draw(tokenizer, [], seed=0)  # [height, width, 3], bytes")?;
        }
        writeln!(f, "```\n")
    }
}

/// Writes the numbers of one measurement, shares with their intervals.
fn table(f: &mut fmt::Formatter<'_>, values: &Map<String, Value>) -> fmt::Result {
    writeln!(f, "| what | value | 95 % interval | n |\n| --- | --- | --- | --- |")?;
    let shares = values.get("shares").and_then(Value::as_object);
    for (name, share) in shares.into_iter().flatten() {
        let percent =
            |key: &str| share.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN) * 100.0;
        let of = share.get("of").cloned().unwrap_or_default();
        writeln!(
            f,
            "| {name} | {:.1} % | {:.1} to {:.1} % | {of} |",
            percent("value"),
            percent("low"),
            percent("high")
        )?;
    }
    let is_share = |name: &str| shares.is_some_and(|shares| shares.contains_key(name));
    for (name, value) in values.iter().filter(|(_, value)| value.is_number()) {
        if is_share(name) {
            continue; // the count of a share that stands above
        }
        writeln!(f, "| {name} | {value} | | |")?;
    }
    writeln!(f)
}
