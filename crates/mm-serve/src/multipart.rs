//! Bodies of the type `multipart/form-data`, read within limits.
//!
//! The limit of the whole body stands where the router is made. Here the parts are counted, and
//! every part that is not an image may have as many bytes as a long prompt. An error names the part
//! that was read, or the last one that was whole.

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;

use crate::error::ApiError;

/// The most parts of a form.
const MOST_PARTS: usize = 128;

/// The most bytes of a part that is text.
const MOST_TEXT_BYTES: usize = 1 << 20;

/// A part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The name; that of `image[]` is `image[]`.
    pub name: String,
    /// Whether the part has the name of a file.
    pub is_file: bool,
    /// What the part holds.
    pub bytes: Vec<u8>,
}

impl Part {
    /// Returns a part as text.
    pub fn text(self) -> Result<String, ApiError> {
        String::from_utf8(self.bytes).map_err(|_| {
            let message = format!("`{}` is not text in UTF-8", self.name);
            ApiError::invalid(self.name, message)
        })
    }
}

/// Reads all parts of a form, in their order. `is_image` says of a name whether an image stands
/// there, of which at most `images` are taken.
pub(crate) async fn read_form(
    request: Request,
    images: usize,
    is_image: impl Fn(&str) -> bool,
) -> Result<Vec<Part>, ApiError> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|why| {
        ApiError::of(why.status(), "invalid_request_error", why.body_text())
            .with_code("invalid_form")
    })?;
    let mut parts: Vec<Part> = vec![];
    let mut found = 0;
    loop {
        let last = parts.last().map(|part| part.name.clone());
        let next = form.next_field().await.map_err(|why| broken(&why, last))?;
        let Some(field) = next else { return Ok(parts) };
        let Some(name) = field.name().map(str::to_owned) else {
            return Err(ApiError::of(
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                format!("part {} of the form has no name", parts.len() + 1),
            ));
        };
        if parts.len() == MOST_PARTS {
            let message = format!("the form has more than {MOST_PARTS} parts");
            return Err(ApiError::invalid(name, message));
        }
        let image = is_image(&name);
        found += usize::from(image);
        if found > images {
            let message = format!("the form has more than {images} images, its mask counted");
            return Err(ApiError::invalid(name, message));
        }
        let most = if image { usize::MAX } else { MOST_TEXT_BYTES };
        parts.push(read_part(field, name, most).await?);
    }
}

/// Reads one part of at most so many bytes.
async fn read_part(mut field: Field<'_>, name: String, most: usize) -> Result<Part, ApiError> {
    let is_file = field.file_name().is_some();
    let mut bytes = vec![];
    loop {
        let chunk = field.chunk().await.map_err(|why| broken(&why, Some(name.clone())))?;
        let Some(chunk) = chunk else { return Ok(Part { name, is_file, bytes }) };
        if chunk.len() > most - bytes.len() {
            let message = format!("`{name}` has more than {most} bytes");
            return Err(ApiError::of(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request_error",
                message,
            )
            .at(name)
            .with_code("too_large"));
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// Makes the error of a form that is malformed, too large or ends early.
fn broken(why: &MultipartError, part: Option<String>) -> ApiError {
    // A connection that breaks is the client's doing, and so is whatever else is wrong in a form.
    let status = match why.status() {
        status if status.is_client_error() => status,
        _ => StatusCode::BAD_REQUEST,
    };
    let place = part.as_ref().map_or(String::new(), |part| format!(" at or behind `{part}`"));
    let message = format!("the form cannot be read{place}: {}", why.body_text());
    let error = ApiError::of(status, "invalid_request_error", message).with_code("invalid_form");
    match part {
        Some(part) => error.at(part),
        None => error,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::body::Body;
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    /// The boundary of the forms that tests write.
    pub(crate) const BOUNDARY: &str = "a-boundary";

    /// Writes a form. Names that end in `@` are those of files, without it.
    pub(crate) fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = vec![];
        for (name, bytes) in parts {
            let file = if name.ends_with('@') { "; filename=\"a.png\"" } else { "" };
            let name = name.trim_end_matches('@');
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        body
    }

    async fn read(body: Vec<u8>) -> Result<Vec<Part>, ApiError> {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = Request::post("/").header(CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
        read_form(request, 2, |name| name.starts_with("image")).await
    }

    #[tokio::test]
    async fn parts_come_in_their_order_and_names_may_repeat() {
        let parts: [(&str, &[u8]); 3] =
            [("image[]@", &[0, 255, 13, 10]), ("prompt", b"a"), ("image[]@", b"")];
        let found = read(form(&parts)).await.unwrap();
        let wanted = |name: &str, is_file, bytes: &[u8]| Part {
            name: name.to_owned(),
            is_file,
            bytes: bytes.to_vec(),
        };
        assert_eq!(
            found,
            [
                wanted("image[]", true, &[0, 255, 13, 10]),
                wanted("prompt", false, b"a"),
                wanted("image[]", true, b""),
            ]
        );
    }

    #[tokio::test]
    async fn limits_are_errors_of_the_part() {
        let images: [(&str, &[u8]); 3] = [("image", b"a"), ("image[]", b"b"), ("image[]", b"c")];
        let why = read(form(&images)).await.unwrap_err();
        assert_eq!(why.error.param.as_deref(), Some("image[]"));
        assert!(why.error.message.contains("more than 2 images"), "{}", why.error.message);

        let long = vec![b'a'; MOST_TEXT_BYTES + 1];
        let why = read(form(&[("prompt", &long)])).await.unwrap_err();
        assert_eq!((why.status.as_u16(), why.error.param.as_deref()), (413, Some("prompt")));

        let why = read(form(&vec![("n", b"1".as_slice()); MOST_PARTS + 1])).await.unwrap_err();
        assert!(why.error.message.contains("more than 128 parts"), "{}", why.error.message);
    }

    #[tokio::test]
    async fn a_form_that_ends_early_names_the_part_at_which_it_does() {
        let whole = form(&[("prompt", b"red"), ("image@", &[7; 100])]);
        let end = whole.len() - BOUNDARY.len() - 50;
        let why = read(whole[..end].to_vec()).await.unwrap_err();
        assert_eq!((why.status.as_u16(), why.error.param.as_deref()), (400, Some("image")));
        let why = read(vec![]).await.unwrap_err();
        assert_eq!((why.status.as_u16(), why.error.param), (400, None));
    }

    #[tokio::test]
    async fn text_that_is_not_utf8_is_an_error_of_its_part() {
        let part = Part { name: "prompt".to_owned(), is_file: false, bytes: vec![0xff] };
        assert_eq!(part.text().unwrap_err().error.param.as_deref(), Some("prompt"));
    }
}
