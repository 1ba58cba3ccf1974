//! Flags of `mm plan`.

use clap::Parser;

#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  mm plan glyphs
  mm plan big.toml --flops 3e14 --devices 8
  mm plan big.toml --flops 3e14 --memory 80GB --hours 24
  mm plan glyphs --set run.recompute=true --measure")]
pub struct PlanArgs {
    /// A recipe of `mm data recipes`, or a TOML file.
    pub recipe: String,
    /// Arithmetic that one device does in a second.
    #[arg(long, value_name = "F", default_value_t = 1e12)]
    pub flops: f64,
    /// Devices that share every batch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub devices: usize,
    /// Memory of one device, such as 80GB: how many devices hold a step.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<f64>,
    /// Time that the whole run may take: how many devices compute it.
    #[arg(long, value_name = "H")]
    pub hours: Option<f64>,
    /// Replace one value of the recipe, such as model.backbone.depth=8.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Take some steps here and compare their memory and time with the plan.
    #[arg(long)]
    pub measure: bool,
    /// Where to take them: auto, flex, vulkan, wgpu, metal, cuda:0.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Bytes of a size such as `80GB`.
fn memory(text: &str) -> Result<f64, String> {
    let units = [("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("B", 1.0)];
    let found = units.into_iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
    let (number, size) = found.unwrap_or((text, 1.0));
    let number = number.trim_end().parse::<f64>().ok().map(|number| number * size);
    let number = number.filter(|bytes| bytes.is_finite() && *bytes > 0.0);
    number.ok_or_else(|| "wanted bytes above 0, or a size such as 500MB or 80GB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        for (text, wanted) in [
            ("80GB", Some(8e10)),
            ("1.5 TB", Some(1.5e12)),
            ("500MB", Some(5e8)),
            ("2kB", Some(2e3)),
            ("12B", Some(12.0)),
            ("4096", Some(4096.0)),
            ("0GB", None),
            ("-1", None),
            ("infGB", None),
            ("GB", None),
            ("80XB", None),
        ] {
            assert_eq!(memory(text).ok(), wanted, "{text}");
        }
    }
}
