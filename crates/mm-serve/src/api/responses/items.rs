//! The items of an input: messages, and images that were drawn before.

use mm_model::Segment;
use mm_patch::Image;

use super::super::talk::{Content, Detail, ImageUrl, Reader, Role, Said};
use super::request::{Input, Item};
use crate::error::{ApiError, beginning};

/// Returns the items of an input; a text is the message of a user.
pub(super) fn items_of(input: Option<&Input>) -> Vec<Item> {
    match input {
        None => vec![],
        Some(Input::Items(items)) => items.clone(),
        Some(Input::Text(text)) => vec![Item {
            kind: None,
            role: Some("user".to_owned()),
            content: Some(Content::Text(text.clone())),
            result: None,
        }],
    }
}

/// Reads one item; `param` names it. What a model thought is skipped.
pub(super) fn read(
    reader: &mut Reader<'_>,
    item: &Item,
    param: &str,
) -> Result<Option<Said>, ApiError> {
    match item.kind.as_deref() {
        None | Some("message") => {}
        Some("reasoning") => return Ok(None),
        Some("image_generation_call") => {
            let at = format!("{param}.result");
            let Some(result) = &item.result else {
                let why = "images are not found by id, wanted the image as `result`, or \
                           `previous_response_id`";
                return Err(ApiError::invalid(at, why));
            };
            let image = reader.image(result, Detail::Own, &at)?;
            let segments = vec![Segment::context_image(image)];
            return Ok(Some(Said { role: Role::Assistant, segments }));
        }
        Some(other) => {
            let shown = beginning(other);
            let why = format!("items of the type `{shown}` are not read, wanted messages");
            return Err(ApiError::unsupported(format!("{param}.type"), why));
        }
    }
    let role = Role::of(item.role.as_deref().unwrap_or("user"), &format!("{param}.role"))?;
    let at = format!("{param}.content");
    let Some(content) = &item.content else {
        return Err(ApiError::invalid(&at, format!("`{at}` is missing")));
    };
    Ok(Some(Said { role, segments: reader.content(content, role, &at)? }))
}

/// An image of a request, as it was sent.
pub(super) struct SentUri<'a> {
    pub uri: &'a str,
    /// The field in which it stands.
    pub param: String,
}

/// Returns the images of the last message of a user.
pub(super) fn last_images(items: &[Item]) -> Vec<SentUri<'_>> {
    let is_message = |item: &Item| matches!(item.kind.as_deref(), None | Some("message"));
    let is_user = |item: &Item| matches!(item.role.as_deref(), None | Some("user"));
    let last = items.iter().rposition(|item| is_message(item) && is_user(item));
    let Some(at) = last else { return vec![] };
    let Some(Content::Parts(parts)) = &items[at].content else { return vec![] };
    let sent = parts.iter().enumerate().filter_map(|(part_at, part)| {
        let (ImageUrl::Uri(uri) | ImageUrl::Object { url: uri, .. }) = part.image_url.as_ref()?;
        Some(SentUri { uri, param: format!("input[{at}].content[{part_at}].image_url") })
    });
    sent.collect()
}

/// Returns the last image of a conversation.
pub(super) fn newest_image(history: &[Said]) -> Option<&Image> {
    let segments = history.iter().flat_map(|said| &said.segments);
    segments.rev().find_map(|segment| match segment {
        Segment::Image { image, .. } => Some(image),
        Segment::Text { .. } => None,
    })
}
