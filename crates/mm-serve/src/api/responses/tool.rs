//! The tool `image_generation`: whether images are drawn, how, and in which format.

use mm_patch::{Image, PngText};

use super::super::images::parse_size;
use super::super::settings::{count, number};
use super::request::{Tool, ToolChoice};
use crate::encode::{Output, OutputFormat};
use crate::error::{ApiError, beginning};

/// When images are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawing {
    /// Never.
    Off,
    /// Where the model chooses to.
    Chosen,
    /// What the user said last is drawn at once.
    Forced,
}

/// What an image starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Auto,
    Generate,
    Edit,
}

/// The tool as a request gives it, checked.
#[derive(Debug, Clone)]
pub(super) struct ImageTool {
    pub drawing: Drawing,
    pub action: Action,
    pub previews: usize,
    pub output: Output,
    /// The fields that were given.
    pub fields: Tool,
    /// The name of the tool in the request, such as `tools[0]`.
    pub param: String,
}

/// How images of a response are written, and what is said of them.
#[derive(Debug, Clone)]
pub(super) struct ImageFormat {
    pub output: Output,
    /// What a PNG file says of its image.
    pub texts: Vec<PngText>,
    pub name: &'static str,
    pub action: &'static str,
}

impl ImageFormat {
    /// Returns an image file as base64.
    pub fn base64(&self, image: &Image) -> Result<String, ApiError> {
        self.output.base64(image, &self.texts)
    }
}

impl ImageTool {
    /// Checks the tools of a request, of which only this one can be used.
    pub fn of(tools: &[Tool], choice: Option<&ToolChoice>) -> Result<Self, ApiError> {
        for (at, tool) in tools.iter().enumerate() {
            if tool.kind != "image_generation" {
                let shown = beginning(&tool.kind);
                let why = format!("the tool `{shown}` is unknown, wanted image_generation");
                return Err(ApiError::unsupported(format!("tools[{at}].type"), why));
            }
        }
        let found = tools.first();
        let drawing = drawing(choice, found.is_some())?;
        let param = "tools[0]".to_owned();
        let fields = found.cloned().unwrap_or_default();
        let wrong = |field: &str, why: &str| {
            ApiError::invalid(format!("{param}.{field}"), format!("`{param}.{field}` {why}"))
        };
        let action = match fields.action.as_deref() {
            None | Some("auto") => Action::Auto,
            Some("generate") => Action::Generate,
            Some("edit") => Action::Edit,
            Some(_) => return Err(wrong("action", "is unknown, wanted auto, generate or edit")),
        };
        let format = match fields.output_format.as_deref() {
            None | Some("png") => OutputFormat::Png,
            Some("jpeg") => OutputFormat::Jpeg,
            Some("webp") => OutputFormat::Webp,
            Some(_) => return Err(wrong("output_format", "is unknown, wanted png, jpeg or webp")),
        };
        if !matches!(fields.background.as_deref(), None | Some("auto" | "opaque")) {
            let why = "images have no transparent pixels, wanted opaque";
            return Err(ApiError::unsupported(format!("{param}.background"), why));
        }
        let qualities = [None, Some("auto"), Some("low"), Some("medium"), Some("high")];
        if !qualities.contains(&fields.quality.as_deref()) {
            return Err(wrong("quality", "is unknown, wanted auto, low, medium or high"));
        }
        let at = |field: &str| format!("{param}.{field}");
        let previews = count(&at("partial_images"), fields.partial_images.unwrap_or(0), 0, 3)?;
        let quality = fields.output_compression.unwrap_or(100);
        let quality = count(&at("output_compression"), quality, 0, 100)? as u8;
        let output = Output { format, quality };
        if let Some(strength) = fields.strength {
            number(&at("strength"), strength, 0.0, 1.0)?;
        }
        if let Some(size) = &fields.size {
            parse_size(size, &at("size"))?;
        }
        Ok(Self { drawing, action, previews, output, fields, param })
    }

    /// Returns how the images of an answer are written.
    pub fn format(&self, is_edit: bool, texts: Vec<PngText>) -> ImageFormat {
        let name = match self.output.format {
            OutputFormat::Png => "png",
            OutputFormat::Jpeg => "jpeg",
            OutputFormat::Webp => "webp",
        };
        let action = if is_edit { "edit" } else { "generate" };
        ImageFormat { output: self.output, texts, name, action }
    }
}

/// Reads which tool must be used.
fn drawing(choice: Option<&ToolChoice>, is_given: bool) -> Result<Drawing, ApiError> {
    let forced = match choice {
        None => false,
        Some(ToolChoice::Mode(mode)) => match mode.as_str() {
            "auto" => false,
            "required" => true,
            "none" => return Ok(Drawing::Off),
            _ => {
                let why = "`tool_choice` is unknown, wanted auto, none or required";
                return Err(ApiError::invalid("tool_choice", why));
            }
        },
        Some(ToolChoice::Tool { kind }) if kind == "image_generation" => true,
        Some(ToolChoice::Tool { .. }) => {
            let why = "`tool_choice.type` is unknown, wanted image_generation";
            return Err(ApiError::unsupported("tool_choice.type", why));
        }
    };
    match (forced, is_given) {
        (true, true) => Ok(Drawing::Forced),
        (false, true) => Ok(Drawing::Chosen),
        (false, false) => Ok(Drawing::Off),
        (true, false) => {
            let why = "`tool_choice` asks for a tool that `tools` does not give";
            Err(ApiError::invalid("tool_choice", why))
        }
    }
}
