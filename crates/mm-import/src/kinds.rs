//! The kinds of published models that are known, and which one a folder holds.

use crate::fuyu;
use crate::published::{ImportError, Imported, Kind, Source};

/// All kinds, in the order in which they are listed.
pub const KINDS: &[Kind] = &[fuyu::KIND, crate::dit::KIND, crate::jit::KIND, crate::uvit::KIND];

/// Opens a published model, whose kind is found from its files.
pub fn open(source: &Source) -> Result<Imported, ImportError> {
    let imported = (kind_of(source)?.open)(source)?;
    imported.check()?;
    Ok(imported)
}

/// Finds the kind of a source: by the architecture that it names, or by its weights where it names
/// none.
pub fn kind_of(source: &Source) -> Result<&'static Kind, ImportError> {
    if let Some((path, found)) = source.architecture()? {
        let named = |kind: &&Kind| kind.architectures.contains(&found.as_str());
        let all = KINDS.iter().flat_map(|kind| kind.architectures);
        let known = all.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let kind = KINDS.iter().find(named);
        return kind.ok_or(ImportError::UnknownArchitecture { path, found, known });
    }
    if let Some(kind) = KINDS.iter().find(|kind| (kind.claims)(source)) {
        return Ok(kind);
    }
    source.refuse_other_forms()?;
    let known = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    let (path, found) = (source.path().to_owned(), source.summary());
    Err(ImportError::NoConfig { path, found, known })
}
