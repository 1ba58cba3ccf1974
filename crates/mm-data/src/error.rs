//! What can go wrong with data.

use std::io;
use std::path::PathBuf;

/// Why a data set cannot be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A setting has a value that means nothing.
    #[error("`{field}` is `{found}`, wanted {wanted}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        wanted: &'static str,
    },
    /// A record does not fit into a sequence of tokens.
    #[error(transparent)]
    Document(#[from] mm_model::DocumentError),
    /// No tokenizer can be trained on the texts.
    #[error(transparent)]
    Text(#[from] mm_text::TextError),
    /// The image size does not divide into patches.
    #[error("image size {width}x{height} is not made of whole patches of {patch}x{patch} pixels")]
    Size {
        /// Columns asked for.
        width: usize,
        /// Rows asked for.
        height: usize,
        /// Side of a patch.
        patch: usize,
    },
    /// A folder cannot be listed.
    #[error("cannot read the data folder")]
    Read(#[source] io::Error),
    /// The captions of a folder cannot be read.
    #[error("`{path}`: {why}")]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and in which line.
        why: String,
    },
    /// A folder has no image, or none with a caption.
    #[error(
        "`{path}` holds {nothing}; wanted files ending in {extensions}, skipped {skipped}{first}"
    )]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// What it does not hold.
        nothing: &'static str,
        /// The accepted file name endings.
        extensions: String,
        /// How many files were left out.
        skipped: usize,
        /// The first file that was left out, as words, or nothing.
        first: String,
    },
    /// The split asked for has no record.
    #[error("the {split} split of the {source_name} data set is empty")]
    EmptySplit {
        /// The split.
        split: &'static str,
        /// The kind of data set.
        source_name: &'static str,
    },
    /// A run on images without text met a document of another kind.
    #[error(
        "`{path}`: the document at byte {at} is not one image without text, which `vocab = 0` wants"
    )]
    NotImageOnly {
        /// The file.
        path: PathBuf,
        /// Where the document begins.
        at: u64,
    },
    /// A record cannot be loaded, and its source counts no bad records.
    #[error("`{path}`: {why}")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with the record.
        why: String,
    },
    /// Items were listed, but none can be read.
    #[error("none of the {files} items can be read; the first, in `{path}`: {why}")]
    AllBroken {
        /// The file of the first.
        path: PathBuf,
        /// How many were tried.
        files: usize,
        /// What is wrong with the first of them.
        why: String,
    },
    /// More is broken than `max_bad` allows.
    #[error(
        "{bad} of {of} {what} of the {source_name} data set are broken, `max_bad` allows {allowed}; one of them: `{path}`: {why}"
    )]
    TooManyBad {
        /// The kind of data set.
        source_name: &'static str,
        /// Items or files.
        what: &'static str,
        /// How many are broken.
        bad: usize,
        /// How many there are.
        of: usize,
        /// How many may be broken.
        allowed: usize,
        /// The file of one of them.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A source has nothing that can be used.
    #[error("the {source_name} data set is empty, {skipped} left out{first}")]
    Nothing {
        /// The kind of data set.
        source_name: &'static str,
        /// How many were left out.
        skipped: usize,
        /// The first of them, as words, or nothing.
        first: String,
    },
    /// A pattern of file names is none, or names nothing.
    #[error("the pattern `{pattern}`: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// The cache of images cannot be opened.
    #[error("cannot open the cache of images")]
    Cache(#[source] io::Error),
    /// The file that is to be the cache is something else.
    #[error(
        "`data.cache` `{path}` is no cache of images, wanted a file that is not there yet, or one that was made so; one of an \
         older version begins otherwise: delete it"
    )]
    NoCache {
        /// The file.
        path: PathBuf,
    },
}
