//! What the headers of a tar shard say: where the members of every sample are, and how far the
//! shard can be read.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};

use crate::files::Span;
use crate::image::{EXTENSIONS, UNREAD_EXTENSIONS, chain};

/// The first bytes of a file that gzip has compressed (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes of a block of a tar file: a header is one, contents fill whole ones.
const BLOCK: u64 = 512;
/// The most characters that are shown of what a shard says.
const MOST_SHOWN: usize = 80;
/// The most bytes of a member that holds words.
const MOST_WORDS: u64 = 1 << 20;

/// Where a sample's members are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) key: Box<str>,
    pub(super) image: Span,
    pub(super) words: Option<Words>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Text(Span),
    Json(Span),
}

/// What the headers of a shard say.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) samples: Vec<Sample>,
    /// Neighbours with the same key that are no sample.
    pub(super) incomplete: Vec<Incomplete>,
    /// Where the shard breaks off.
    pub(super) cut: Option<Cut>,
    /// Keys of words without an image beside them.
    words_alone: HashSet<String>,
}

/// Members that are no sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incomplete {
    pub(super) key: String,
    /// The place of the first of them.
    pub(super) at: u64,
    pub(super) lacks: Lacks,
}

/// What members need to be a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    Image,
    Words,
    /// Its words are in the shard, but not beside its image.
    Neighbour,
}

impl Lacks {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Image => "no image",
            Self::Words => "no caption: neither .txt nor .json beside the image",
            Self::Neighbour => {
                "its caption is not beside its image: the files of one sample must stand next to each other in the shard"
            }
        }
    }
}

/// Why a shard cannot be read to its end, and which share of it is lost by that.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub(super) why: String,
    pub(super) lost: f64,
}

/// A sample whose members are being met.
#[derive(Debug)]
struct Open {
    key: String,
    at: u64,
    image: Option<Span>,
    words: Option<Words>,
}

/// Reads the headers of a shard of `bytes` bytes; samples without words are none if words are
/// `wanted`.
pub(super) fn index(mut shard: impl Read + Seek, bytes: u64, wanted: bool) -> Index {
    if let Err(why) = starts_plain(&mut shard) {
        return Index::lost(why);
    }
    let mut archive = tar::Archive::new(shard);
    let members = match archive.entries_with_seek() {
        Ok(members) => members,
        Err(why) => return Index::lost(shown(&chain(&why))),
    };
    let (mut index, mut open, mut after) = (Index::default(), None::<Open>, 0);
    for member in members {
        let member = match member {
            Ok(member) => member,
            Err(why) => {
                let why = format!("broken from byte {after} on: {}", shown(&chain(&why)));
                index.cut = Some(Cut { why, lost: share_behind(after, bytes) });
                break;
            }
        };
        let span = Span { at: member.raw_file_position(), bytes: member.size() };
        match span.at.checked_add(span.bytes) {
            Some(end) if end <= bytes => after = end,
            _ => {
                let Span { at, bytes } = span;
                let why = format!("it is cut short, a member at byte {at} has {bytes} bytes");
                index.cut = Some(Cut { why, lost: 1.0 });
                break;
            }
        }
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let Some((key, ending)) = key_of(&name).filter(|_| member.header().entry_type().is_file())
        else {
            continue;
        };
        if open.as_ref().is_none_or(|held| held.key != key) {
            index.close(open.take(), wanted);
        }
        open.get_or_insert_with(|| Open::new(key, span.at)).add(&ending, span);
    }
    if index.cut.is_none() && ends_at(after, bytes) {
        // Where a member is whole, so is the shard as far as anybody can tell: some writers leave
        // the blocks out.
        let lost = if after.next_multiple_of(BLOCK) == bytes { 0.0 } else { 1.0 };
        index.cut = Some(Cut { why: "it ends without its closing blocks".into(), lost });
    }
    index.close(open, wanted);
    index.with_torn().without_repeats()
}

/// Says no to a compressed shard: its members have no places that could be read.
fn starts_plain(shard: &mut (impl Read + Seek)) -> Result<(), String> {
    let mut first = [0; 2];
    if shard.read_exact(&mut first).is_ok() && first == GZIP {
        return Err("it is compressed by gzip, wanted a plain tar".into());
    }
    shard.rewind().map_err(|why| chain(&why))
}

/// Returns the share of a shard behind a place; all of it where the shard ends there, since nobody
/// knows how long it was.
fn share_behind(place: u64, bytes: u64) -> f64 {
    if ends_at(place, bytes) { 1.0 } else { (bytes - place) as f64 / bytes as f64 }
}

/// Returns whether no whole block follows the contents that end at a place.
fn ends_at(place: u64, bytes: u64) -> bool {
    place.next_multiple_of(BLOCK) + BLOCK > bytes
}

/// Makes outside bytes, or words about them, fit for a terminal: escaped where they are no plain
/// signs, and cut.
pub(super) fn shown(text: &str) -> String {
    let sign = |sign: char| match sign {
        '\'' | '"' | '\\' => sign.to_string(),
        _ => sign.escape_debug().to_string(),
    };
    let escaped: String = text.chars().map(sign).collect();
    match escaped.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

impl Index {
    /// Returns the index of a shard of which nothing can be read.
    pub(super) fn lost(why: String) -> Self {
        Self { cut: Some(Cut { why, lost: 1.0 }), ..Self::default() }
    }

    fn close(&mut self, open: Option<Open>, wanted: bool) {
        let Some(Open { key, at, image, words }) = open else { return };
        match image {
            Some(image) if words.is_some() || !wanted => {
                self.samples.push(Sample { key: key.into(), image, words });
            }
            Some(_) => self.incomplete.push(Incomplete { key, at, lacks: Lacks::Words }),
            None => {
                if words.is_some() {
                    self.words_alone.insert(key.clone());
                }
                self.incomplete.push(Incomplete { key, at, lacks: Lacks::Image });
            }
        }
    }

    /// Joins what is torn: an image and words that have a key in common, but are apart, are a
    /// sample that is torn, and one item.
    fn with_torn(mut self) -> Self {
        let mut torn = HashSet::new();
        for one in self.incomplete.iter_mut().filter(|one| one.lacks == Lacks::Words) {
            if self.words_alone.contains(&one.key) {
                one.lacks = Lacks::Neighbour;
                torn.insert(one.key.clone());
            }
        }
        self.incomplete.retain(|one| one.lacks != Lacks::Image || !torn.contains(&one.key));
        self
    }

    /// Renames repeats: only neighbors are one sample, and a key that comes back later is another
    /// sample, under another name.
    fn without_repeats(mut self) -> Self {
        let mut met: HashMap<Box<str>, usize> = HashMap::new();
        for sample in &mut self.samples {
            let times = met.entry(sample.key.clone()).or_insert(0);
            *times += 1;
            if *times > 1 {
                sample.key = format!("{}#{times}", sample.key).into();
            }
        }
        self
    }
}

impl Open {
    fn new(key: &str, at: u64) -> Self {
        Self { key: key.to_owned(), at, image: None, words: None }
    }

    /// Takes in a member by the ending of its name; others than images and words are nobody's slip.
    fn add(&mut self, ending: &str, span: Span) {
        match ending {
            "txt" if span.bytes <= MOST_WORDS => self.words = Some(Words::Text(span)),
            "json" if span.bytes <= MOST_WORDS && self.words.is_none() => {
                self.words = Some(Words::Json(span));
            }
            // One of a format that is not read is refused by name when it is decoded.
            ending if EXTENSIONS.contains(&ending) || UNREAD_EXTENSIONS.contains(&ending) => {
                self.image = Some(span);
            }
            _ => {}
        }
    }
}

/// Returns the key and the ending, in lower case, of a member's name.
fn key_of(name: &str) -> Option<(&str, String)> {
    let start = name.rfind('/').map_or(0, |at| at + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], name[dot + 1..].to_lowercase()))
}
