//! What the headers of a tar shard say: where the members of every sample are, and how far the
//! shard can be read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};

use tar::EntryType;

use crate::files::{Span, compression};
use crate::image::{EXTENSIONS, UNREAD_EXTENSIONS, chain};

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
    pub(super) text: Option<Span>,
    pub(super) json: Option<Span>,
}

/// What the headers of a shard say.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) samples: Vec<Sample>,
    /// Neighbours with the same key that are no sample.
    pub(super) incomplete: Vec<Incomplete>,
    /// Endings of members beside a sample that look like images or words and are not used, and how
    /// many there are of each.
    pub(super) unused: BTreeMap<String, usize>,
    /// Where the shard breaks off.
    pub(super) cut: Option<Cut>,
}

/// Members that are no sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incomplete {
    pub(super) key: String,
    /// The place of the first of them.
    pub(super) at: u64,
    pub(super) why: String,
    /// Whether they ought to be one: whether there is an image or words among them.
    pub(super) is_lost: bool,
    lacks: Option<Lacks>,
}

/// What members need to be a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Image,
    Words,
}

const NO_WORDS: &str = "no caption: neither .txt nor .json beside the image";
const APART: &str = "its caption is not beside its image: the files of one sample must stand next to each other in the shard";

/// Why a shard cannot be read to its end, and which share of it is lost by that.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub(super) why: String,
    pub(super) lost: f64,
}

/// Neighbors with the same key that are being met.
#[derive(Debug)]
struct Open {
    key: String,
    at: u64,
    members: Vec<Member>,
}

/// A member by the ending of its name, which is all behind the first dot, in lower case.
#[derive(Debug)]
struct Member {
    ending: String,
    span: Span,
    /// What it is in place of a file with its bytes, such as a link.
    other: Option<&'static str>,
}

impl Member {
    /// Returns what stands before the last dot of the ending, if another does.
    fn stem(&self) -> Option<&str> {
        self.ending.rsplit_once('.').map(|(stem, _)| stem)
    }

    fn last(&self) -> &str {
        self.ending.rsplit('.').next().unwrap_or_default()
    }

    fn is_image(&self) -> bool {
        // One of a format that is not read is refused by name when it is decoded.
        EXTENSIONS.contains(&self.last()) || UNREAD_EXTENSIONS.contains(&self.last())
    }

    fn is_words(&self) -> bool {
        ["txt", "json"].contains(&self.last())
    }
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
        let kind = member.header().entry_type();
        let other = match kind {
            EntryType::Link | EntryType::Symlink => Some("a link, which is not followed"),
            EntryType::GNUSparse => Some("a sparse file, which is not read"),
            _ => None,
        };
        // A sparse file says how long it would be, and its header how long it is here.
        let stored = if kind.is_gnu_sparse() { member.header().entry_size().ok() } else { None };
        let at = member.raw_file_position();
        let span = Span { at, bytes: stored.unwrap_or_else(|| member.size()) };
        match span.at.checked_add(span.bytes) {
            Some(end) if end <= bytes => after = end,
            _ => {
                let Span { at, bytes } = span;
                let why = format!("it is cut short, a member at byte {at} has {bytes} bytes");
                index.cut = Some(Cut { why, lost: 1.0 });
                break;
            }
        }
        let name = unique_name(&member.path_bytes());
        if !(kind.is_file() || kind.is_contiguous() || other.is_some()) {
            continue;
        }
        if name.split('/').any(|part| part.starts_with("GNUSparseFile.")) {
            index.lose(&name, at, "a sparse file, which is not read".into());
            continue;
        }
        let Some((key, ending)) = key_of(&name) else {
            let last = name.rsplit('/').next().unwrap_or_default();
            if !last.starts_with('.') {
                *index.unused.entry(String::new()).or_insert(0) += 1;
            }
            continue;
        };
        if open.as_ref().is_none_or(|held| held.key != key) {
            index.close(open.take(), wanted);
        }
        let open =
            open.get_or_insert_with(|| Open { key: key.to_owned(), at: span.at, members: vec![] });
        open.members.push(Member { ending, span, other });
    }
    if index.cut.is_none() && ends_at(after, bytes) {
        // Where a member is whole, so is the shard as far as anybody can tell: some writers leave
        // the blocks out.
        let lost = if after.next_multiple_of(BLOCK) == bytes { 0.0 } else { 1.0 };
        index.cut = Some(Cut { why: "it ends without its closing blocks".into(), lost });
    }
    let whole = index.incomplete.len();
    index.close(open, wanted);
    if index.cut.is_some() {
        // What the cut has torn is lost by the cut already.
        index.incomplete[whole..].iter_mut().for_each(|one| one.is_lost = false);
    }
    if index.cut.is_none()
        && let Some(place) = more_behind(archive.into_inner(), after, bytes)
    {
        let why = format!(
            "it goes on at byte {place} behind its closing blocks, wanted one archive in a file"
        );
        index.cut = Some(Cut { why, lost: share_behind(place, bytes) });
    }
    index.with_torn().without_repeats()
}

/// Says no to a compressed shard: its members have no places that could be read.
fn starts_plain(shard: &mut (impl Read + Seek)) -> Result<(), String> {
    let mut first = Vec::new();
    shard.take(8).read_to_end(&mut first).map_err(|why| chain(&why))?;
    match compression(&first) {
        Some(name) => Err(format!("it is compressed by {name}, wanted a plain tar")),
        None => shard.rewind().map_err(|why| chain(&why)),
    }
}

/// Returns where a shard whose last member ends at `after` goes on behind its closing blocks, as
/// several archives that were joined do.
fn more_behind(mut shard: impl Read + Seek, after: u64, bytes: u64) -> Option<u64> {
    let mut place = after.next_multiple_of(BLOCK);
    shard.seek(SeekFrom::Start(place)).ok()?;
    let mut block = [0; BLOCK as usize];
    while place + BLOCK <= bytes {
        shard.read_exact(&mut block).ok()?;
        if block.iter().any(|byte| *byte != 0) {
            return Some(place);
        }
        place += BLOCK;
    }
    None
}

/// Returns the name of a member as text: bytes that are not UTF-8 are written in hexadecimal, so
/// that different names stay different.
fn unique_name(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
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

    /// Makes a sample of neighbors with the same key, or names what they are.
    fn close(&mut self, open: Option<Open>, wanted: bool) {
        let Some(Open { key, at, members }) = open else { return };
        let used = |member: &&Member| member.is_image() || member.is_words();
        if let Some((member, what)) =
            members.iter().filter(used).find_map(|member| Some((member, member.other?)))
        {
            let why = format!("its `.{}` is {what}", shown(&member.ending));
            return self.lose(&key, at, why);
        }
        if let Some(twice) = repeated(&members) {
            let why = format!(
                "`{}.{}` stands several times among neighbours, so that nobody knows which words \
                 belong to which image: every sample needs a key of its own",
                shown(&key),
                shown(twice)
            );
            let images = members.iter().filter(|one| one.is_image()).map(|one| one.span.at);
            let places: Vec<u64> = images.collect();
            let places = if places.is_empty() { vec![at] } else { places };
            for place in places {
                self.lose(&key, place, why.clone());
            }
            return;
        }
        let (plain, dotted): (Vec<&Member>, Vec<&Member>) =
            members.iter().partition(|member| member.stem().is_none());
        let images: Vec<&Member> = plain.iter().copied().filter(|one| one.is_image()).collect();
        let word = |ending: &str| {
            let found = plain.iter().find(|one| one.ending == ending);
            found.map(|one| one.span).filter(|span| span.bytes <= MOST_WORDS)
        };
        let (text, json) = (word("txt"), word("json"));
        match images.as_slice() {
            [] if dotted.iter().any(|one| one.is_image()) => self.lose_dotted(&key, &dotted),
            [] if !wanted || text.is_none() && json.is_none() => self.pass_over(key, at),
            [] => {
                let mut lost = Incomplete::lost(&key, at, "no image".into());
                lost.lacks = Some(Lacks::Image);
                self.incomplete.push(lost);
            }
            [image] if text.is_some() || json.is_some() || !wanted => {
                self.samples.push(Sample { key: key.into(), image: image.span, text, json });
                for member in dotted.iter().filter(|one| one.is_image() || one.is_words()) {
                    *self.unused.entry(member.ending.clone()).or_insert(0) += 1;
                }
            }
            [_] if plain.iter().any(|one| one.is_words()) => {
                let why = format!("its words have more than {MOST_WORDS} bytes");
                self.lose(&key, at, why);
            }
            [_] => {
                let mut lost = Incomplete::lost(&key, at, NO_WORDS.into());
                lost.lacks = Some(Lacks::Words);
                self.incomplete.push(lost);
            }
            several => {
                let endings: Vec<String> =
                    several.iter().map(|one| format!("`.{}`", shown(&one.ending))).collect();
                let why = format!("it has several images, {}, wanted one", endings.join(", "));
                self.lose(&key, at, why);
            }
        }
    }

    /// Counts each image of those whose names have other dots as lost.
    fn lose_dotted(&mut self, key: &str, dotted: &[&Member]) {
        for image in dotted.iter().filter(|one| one.is_image()) {
            let why = format!(
                "no image: a key ends at the first dot of a name, so this is the member `.{}` of that \
                 key, wanted names without other dots",
                shown(&image.ending)
            );
            self.lose(key, image.span.at, why);
        }
    }

    fn lose(&mut self, key: &str, at: u64, why: String) {
        self.incomplete.push(Incomplete::lost(key, at, why));
    }

    fn pass_over(&mut self, key: String, at: u64) {
        let why = "no image".into();
        self.incomplete.push(Incomplete { key, at, why, is_lost: false, lacks: None });
    }

    /// Joins what is torn: an image and words that have a key in common, but are apart, are a
    /// sample that is torn, and one item.
    fn with_torn(mut self) -> Self {
        let of = |lacks: Lacks| -> HashSet<String> {
            let those = self.incomplete.iter().filter(|one| one.lacks == Some(lacks));
            those.map(|one| one.key.clone()).collect()
        };
        let (bare, words) = (of(Lacks::Words), of(Lacks::Image));
        let torn: HashSet<&String> = bare.intersection(&words).collect();
        self.incomplete.retain(|one| one.lacks != Some(Lacks::Image) || !torn.contains(&one.key));
        for one in self.incomplete.iter_mut().filter(|one| one.lacks == Some(Lacks::Words)) {
            if torn.contains(&one.key) {
                one.why = APART.into();
            }
        }
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

impl Incomplete {
    fn lost(key: &str, at: u64, why: String) -> Self {
        Self { key: key.to_owned(), at, why, is_lost: true, lacks: None }
    }
}

/// Returns an ending that several members have, if they are images or words.
fn repeated(members: &[Member]) -> Option<&str> {
    let mut met = HashSet::new();
    let counts = members.iter().filter(|one| one.is_image() || one.is_words());
    counts.map(|one| one.ending.as_str()).find(|ending| !met.insert(*ending))
}

/// Returns the key and the ending, in lower case, of a member's name.
fn key_of(name: &str) -> Option<(&str, String)> {
    let start = name.rfind('/').map_or(0, |at| at + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], name[dot + 1..].to_lowercase()))
}
