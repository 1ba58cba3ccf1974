//! The endpoints, one file for each family.
//!
//! | file | endpoints |
//! | --- | --- |
//! | `chat` | `POST /v1/chat/completions` |
//! | `responses` | `POST /v1/responses` |
//! | `images` | `POST /v1/images/generations`, `/v1/images/edits`, `/v1/images/variations` |
//! | `service` | `GET /v1/models`, `/healthz`, `/readyz`, `/metrics`, `/openapi.json` |
