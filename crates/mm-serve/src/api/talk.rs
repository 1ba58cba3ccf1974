//! Messages to documents: texts and images of a conversation, in the order in which they stand.
//!
//! Text is encoded as text whatever it holds: `[IMG]` in a message is five characters, so that a
//! user cannot forge the marks of an image or of an end.

use mm_model::{Document, LoadedModel, Segment, TURN_END, Turn};
use mm_patch::{Fit, Grid, Image};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{ApiError, beginning};
use crate::state::AppState;

/// What a message holds: a string, or parts in order.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "wanted a string or a list of parts such as {\"type\": \"text\"}")]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A text or an image of a message.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct Part {
    /// `text`, `image_url` or `refusal`; in responses `input_text`, `output_text` or `input_image`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(text|image_url|refusal|input_text|output_text|input_image)$")]
    pub kind: String,
    /// The words of a text.
    pub text: Option<String>,
    /// The image, as a data URI.
    pub image_url: Option<ImageUrl>,
    /// See [`Detail`].
    pub detail: Option<String>,
    /// Not supported: files are not kept.
    pub file_id: Option<String>,
}

/// Where an image is: in the request itself, as a data URI.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "wanted a data URI, or an object with one as `url`")]
pub(crate) enum ImageUrl {
    Uri(String),
    Object {
        url: String,
        /// `low` and `auto` fit the image to the size that the model was trained on; `high` keeps
        /// its aspect and as many of its pixels as whole patches allow.
        detail: Option<String>,
    },
}

/// At which size an image is shown to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The size that the model was trained on.
    Trained,
    /// The image keeps its aspect and has as many patches as may be.
    High,
    /// Its own size, if that is a whole number of patches: what the model has drawn.
    Own,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

/// Something that was said.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub role: Role,
    pub segments: Vec<Segment>,
}

impl Role {
    /// Reads a role; `param` names its field.
    pub fn of(name: &str, param: &str) -> Result<Self, ApiError> {
        match name {
            "system" | "developer" => Ok(Self::System),
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            "tool" | "function" => {
                Err(ApiError::unsupported(param, "this model calls no functions"))
            }
            other => {
                let shown = beginning(other);
                let why =
                    format!("`{param}` is `{shown}`, wanted system, developer, user or assistant");
                Err(ApiError::invalid(param, why))
            }
        }
    }
}

/// Reads the texts and images of one request for one model, within the limits.
pub(crate) struct Reader<'a> {
    pub state: &'a AppState,
    pub model: &'a LoadedModel,
    /// Images that were read so far.
    pub images: usize,
}

impl Reader<'_> {
    /// Reads what a message of `role` holds; `param` names the field.
    pub fn content(
        &mut self,
        content: &Content,
        role: Role,
        param: &str,
    ) -> Result<Vec<Segment>, ApiError> {
        match content {
            Content::Text(text) if text.is_empty() => Ok(vec![]),
            Content::Text(text) => Ok(vec![Segment::context_text(text.as_str())]),
            Content::Parts(parts) => {
                let mut segments = vec![];
                for (at, part) in parts.iter().enumerate() {
                    segments.extend(self.part(part, role, &format!("{param}[{at}]"))?);
                }
                Ok(segments)
            }
        }
    }

    /// Reads one part; a refusal says nothing.
    fn part(&mut self, part: &Part, role: Role, param: &str) -> Result<Option<Segment>, ApiError> {
        match part.kind.as_str() {
            "text" | "input_text" | "output_text" => {
                let text = part.text.as_deref().ok_or_else(|| missing(param, "text"))?;
                Ok((!text.is_empty()).then(|| Segment::context_text(text)))
            }
            "image_url" | "input_image" | "output_image" => {
                self.image_part(part, role, param).map(Some)
            }
            "refusal" => Ok(None),
            "input_audio" | "file" | "input_file" => {
                let why = format!("parts of the type `{}` cannot be read by this model", part.kind);
                Err(ApiError::unsupported(format!("{param}.type"), why))
            }
            other => {
                let shown = beginning(other);
                let why = format!("`{param}.type` is `{shown}`, wanted a text or an image");
                Err(ApiError::invalid(format!("{param}.type"), why))
            }
        }
    }

    fn image_part(&mut self, part: &Part, role: Role, param: &str) -> Result<Segment, ApiError> {
        if part.file_id.is_some() {
            let why = "files are not kept, wanted the image itself as a data URI in `image_url`";
            return Err(ApiError::unsupported(format!("{param}.file_id"), why));
        }
        let url = part.image_url.as_ref().ok_or_else(|| missing(param, "image_url"))?;
        let (uri, detail, at) = match url {
            ImageUrl::Uri(uri) => (uri, &part.detail, format!("{param}.image_url")),
            ImageUrl::Object { url, detail } => (url, detail, format!("{param}.image_url.url")),
        };
        let detail = match detail.as_deref() {
            _ if role == Role::Assistant => Detail::Own,
            None | Some("auto" | "low") => Detail::Trained,
            Some("high" | "original") => Detail::High,
            Some(_) => {
                let why = "`detail` is unknown, wanted auto, low or high";
                return Err(ApiError::invalid(format!("{param}.image_url.detail"), why));
            }
        };
        self.image(uri, detail, &at).map(Segment::context_image)
    }

    /// Reads an image and fits it to the model.
    pub fn image(&mut self, uri: &str, detail: Detail, param: &str) -> Result<Image, ApiError> {
        self.count_image(param)?;
        let image = self.state.decode_uri(uri, param)?;
        self.fitted(&image, detail, param)
    }

    /// Counts an image; fails where it is one too many.
    pub fn count_image(&mut self, param: &str) -> Result<(), ApiError> {
        let most = self.state.options.limits.images;
        self.images += 1;
        if self.images > most {
            let why = format!("the request has more than {most} images, which is the most");
            return Err(ApiError::invalid(param, why));
        }
        Ok(())
    }

    /// Makes an image a whole number of patches.
    pub fn fitted(&self, image: &Image, detail: Detail, param: &str) -> Result<Image, ApiError> {
        let patch = self.model.config.patch;
        let most = self.state.options.limits.patches;
        let own = Grid::of_size(image.width(), image.height(), patch);
        let is_whole = own.is_ok_and(|grid| grid.tokens() <= most);
        let trained = self.model.fit();
        let fit = match detail {
            Detail::Own if is_whole => return Ok(image.clone()),
            Detail::Own | Detail::Trained => trained,
            Detail::High => Fit::Bucket { max_patches: most },
        };
        let fitted = fit.apply(image, patch);
        fitted.map(|(image, _)| image).map_err(|why| ApiError::invalid(param, why.to_string()))
    }
}

/// Lays out what was said as turns. What the system says stands before the first turn, and what one
/// side says in several messages is one turn's.
pub(crate) fn turns_of(said: Vec<Said>) -> Vec<Turn> {
    let mut system = vec![];
    let mut turns: Vec<Turn> = vec![];
    for Said { role, segments } in said {
        match role {
            Role::System => {
                system.extend(segments);
                system.push(Segment::context_text(TURN_END));
            }
            Role::User => match turns.last_mut() {
                Some(turn) if turn.answer.is_empty() => {
                    turn.asked.push(Segment::context_text(TURN_END));
                    turn.asked.extend(segments);
                }
                _ => turns.push(Turn { asked: segments, answer: vec![] }),
            },
            Role::Assistant => match turns.last_mut() {
                Some(turn) => turn.answer.extend(segments),
                None => turns.push(Turn { asked: vec![], answer: segments }),
            },
        }
    }
    if !system.is_empty() {
        match turns.first_mut() {
            Some(first) => {
                first.asked.splice(0..0, system);
            }
            None => turns.push(Turn { asked: system, answer: vec![] }),
        }
    }
    turns
}

/// Lays turns out as a prompt; fails where it has too many tokens. `param` names their field.
pub(crate) fn prompt_of(
    turns: Vec<Turn>,
    reader: &Reader<'_>,
    param: &str,
) -> Result<Document, ApiError> {
    let prompt = Document::of_turns(turns);
    check_prompt(&prompt, reader, param)?;
    Ok(prompt)
}

/// Fails where a prompt has too many tokens or cannot be read by the model.
pub(crate) fn check_prompt(
    prompt: &Document,
    reader: &Reader<'_>,
    param: &str,
) -> Result<(), ApiError> {
    let most = reader.state.options.limits.prompt_tokens;
    let sequence = reader.model.sequencer().prompt(prompt);
    let sequence = sequence.map_err(|why| ApiError::invalid(param, why.to_string()))?;
    if sequence.len() > most {
        let found = sequence.len();
        let why = format!("the prompt has {found} tokens, wanted at most {most}");
        return Err(ApiError::invalid(param, why).with_code("context_length_exceeded"));
    }
    Ok(())
}

/// Fails where a model does not read and write text.
pub(crate) fn check_text(name: &str, model: &LoadedModel) -> Result<(), ApiError> {
    if model.config.has_text() && model.model.knows_text() {
        return Ok(());
    }
    let why =
        format!("the model `{name}` writes no text: it only draws (`/v1/images/generations`)");
    Err(ApiError::invalid("model", why).with_code("unsupported_model"))
}

fn missing(param: &str, field: &str) -> ApiError {
    let param = format!("{param}.{field}");
    let why = format!("`{param}` is missing");
    ApiError::invalid(param, why).with_code("missing_required_parameter")
}

/// Returns the texts of the user's last message that has one.
pub(super) fn last_words(history: &[Said]) -> String {
    let users = history.iter().rev().filter(|said| said.role == Role::User);
    let mut words = users.map(|said| {
        let texts = said.segments.iter().filter_map(|segment| match segment {
            Segment::Text { text, .. } => Some(text.as_str()),
            Segment::Image { .. } => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    });
    words.find(|words| !words.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: Role, text: &str) -> Said {
        Said { role, segments: vec![Segment::context_text(text)] }
    }

    #[test]
    fn what_one_side_says_in_several_messages_is_one_turn() {
        let turns = turns_of(vec![
            said(Role::System, "be brief"),
            said(Role::User, "a"),
            said(Role::User, "b"),
            said(Role::Assistant, "c"),
            said(Role::Assistant, "d"),
            said(Role::User, "e"),
        ]);
        let texts = |texts: &[&str]| -> Vec<Segment> {
            texts.iter().map(|text| Segment::context_text(*text)).collect()
        };
        let first =
            Turn { asked: texts(&["be brief", "\n", "a", "\n", "b"]), answer: texts(&["c", "d"]) };
        assert_eq!(turns, [first, Turn { asked: texts(&["e"]), answer: vec![] }]);
    }

    #[test]
    fn an_answer_or_instructions_may_stand_first() {
        assert_eq!(turns_of(vec![said(Role::Assistant, "hello")])[0].asked, []);
        assert_eq!(turns_of(vec![said(Role::System, "draw")])[0].asked.len(), 2);
        assert_eq!(turns_of(vec![]), []);
    }
}
