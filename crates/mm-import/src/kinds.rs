//! The kinds of published models that are known, and which one a folder holds.

use crate::fuyu;
use crate::published::{ImportError, Imported, Kind, Source, Tensors};
use crate::pytorch::file_of_weights;

/// All kinds, in the order in which they are listed.
pub const KINDS: &[Kind] =
    &[fuyu::KIND, crate::dit::KIND, crate::jit::KIND, crate::uvit::KIND, crate::own::KIND];

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
    if let Ok(Some(set)) = file_of_weights(source) {
        return Err(no_known_network(&*set));
    }
    source.refuse_other_forms()?;
    if mm_model::folder::load_config(source.path()).is_ok() {
        return Err(ImportError::Own { path: source.path().to_owned() });
    }
    let known = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    let (path, found) = (source.path().to_owned(), source.summary());
    Err(ImportError::NoConfig { path, found, known })
}

/// Makes the error of a file of weights whose tensors belong to no network that is known by them.
fn no_known_network(set: &dyn Tensors) -> ImportError {
    let names = set.names();
    let name = |name: &String| format!("`{name}`");
    let some: Vec<String> = names.iter().take(3).map(name).collect();
    let found = match names.len() {
        0 => "a file without tensors".to_owned(),
        count => format!("a file of {count} tensors such as {}", some.join(", ")),
    };
    let wanted = "the tensors of a JiT or of a U-ViT";
    ImportError::Form { path: set.home().to_owned(), found, wanted }
}
