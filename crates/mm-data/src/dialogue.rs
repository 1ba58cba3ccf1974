//! Dialogues about images, made in code: an endless source of documents of one to four turns, with
//! texts and images in any order, from [glyphs](GlyphSet) and a few [emoji](EmojiSet).
//!
//! A user asks for a drawing or what an image shows, changes the last image ("make it red", "on
//! gray", "now a 7"), compares two images, or wants two images at once. Every dialogue ends behind
//! the answer, or behind one image of it, that the model is trained to give: the images before it
//! are clean, as they are when the model is used.
//!
//! Held out are the combinations that [`Combination::split`] holds out, and a tenth of the
//! phrasings of every question ([`Intent::phrasings`]).

mod phrases;
mod question;

use mm_model::{Document, Segment, Turn};
use mm_patch::Image;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use phrases::Intent;
use phrases::weighted;
pub use question::Question;

use crate::bad_records::Skipped;
use crate::emoji::{EmojiConfig, EmojiGroup, EmojiSet};
use crate::error::DataError;
use crate::fingerprint::Fingerprint;
use crate::glyphs::{
    Background, Combination, GlyphSet, GlyphsConfig, Ink, Placement, combine, pick,
    random_character,
};
use crate::image::ImageSettings;
use crate::record::{Example, Record};
use crate::source::DataSource;
use crate::split::Split;

/// The number of dialogues whose words train a tokenizer.
const TOKENIZER_DIALOGUES: u64 = 4096;

/// Settings of [`DialogueSet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DialogueConfig {
    /// The fewest and the most turns of a dialogue.
    pub turns: [usize; 2],
    /// The number of emoji that dialogues name beside glyphs.
    pub emoji: usize,
    /// The share of drawings that have no dialogue before them, which guidance needs.
    pub context_drop: f64,
    /// Names of the typefaces, from [`crate::FACE_NAMES`]; all of them if there are none.
    pub faces: Vec<String>,
    /// The most pixels that characters stand off the center, each way; an eighth of the image if
    /// not said.
    pub shift: Option<usize>,
}

impl Default for DialogueConfig {
    fn default() -> Self {
        Self { turns: [1, 4], emoji: 24, context_drop: 0.1, faces: vec![], shift: None }
    }
}

impl DialogueConfig {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), DataError> {
        let wrong = |field, found: String, wanted| Err(DataError::Setting { field, found, wanted });
        let [fewest, most] = self.turns;
        if fewest < 1 || fewest > most || most > 16 {
            let wanted = "the fewest and the most turns of a dialogue, from 1 to 16";
            return wrong("turns", format!("{:?}", self.turns), wanted);
        }
        if !(0.0..=1.0).contains(&self.context_drop) {
            return wrong("context_drop", self.context_drop.to_string(), "a share from 0 to 1");
        }
        self.glyphs().validate()
    }

    fn glyphs(&self) -> GlyphsConfig {
        GlyphsConfig { letters: [1, 1], faces: self.faces.clone(), shift: self.shift }
    }
}

/// An endless source of dialogues.
///
/// ```
/// use mm_data::{DataSource, DialogueConfig, DialogueSet, ImageSettings, Record, Split};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let settings = ImageSettings { width: 32, height: 32, patch: 8 };
/// let dialogues = DialogueSet::open(&DialogueConfig::default(), settings)?;
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let Record::Whole(document) = dialogues.record(Split::Train, 0, &mut rng)? else { panic!() };
/// assert!(!document.segments.is_empty());
/// # Ok::<(), mm_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct DialogueSet {
    config: DialogueConfig,
    glyphs: GlyphSet,
    /// Emoji that are never held out, with their names.
    emoji: Vec<Example>,
}

/// Which combinations and which phrasings a dialogue may have.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    shown: Split,
    words: Split,
}

/// A glyph that stands somewhere in an image.
#[derive(Debug, Clone)]
struct Scene {
    shown: Combination,
    placement: Placement,
}

/// A turn of a dialogue.
struct Made {
    turn: Turn,
    /// What the glyphs of the answer's images show; nothing for emoji.
    shown: Vec<Combination>,
    /// The glyph that the next turn may change.
    scene: Option<Scene>,
}

impl DialogueSet {
    /// Rasterizes the characters and decodes the emoji.
    pub fn open(config: &DialogueConfig, image: ImageSettings) -> Result<Self, DataError> {
        config.validate()?;
        let glyphs = GlyphSet::open(&config.glyphs(), image)?;
        let groups = vec![EmojiGroup::AnimalsAndNature, EmojiGroup::FoodAndDrink];
        let all = EmojiSet::open(&EmojiConfig { groups, limit: None }, image)?;
        let found = all.len(Split::Train).unwrap_or(0);
        if config.emoji as u64 > found {
            return Err(DataError::Setting {
                field: "emoji",
                found: config.emoji.to_string(),
                wanted: "at most 200: there are about so many animals, plants and foods",
            });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut emoji = vec![];
        for number in 0..config.emoji as u64 {
            let at = number * found / config.emoji as u64;
            emoji.extend(all.example(Split::Train, at, &mut rng)?);
        }
        Ok(Self { config: config.clone(), glyphs, emoji })
    }

    /// Makes a dialogue of a split that ends behind what the model is trained to answer.
    pub fn dialogue(&self, split: Split, rng: &mut ChaCha8Rng) -> Document {
        let [fewest, most] = self.config.turns;
        let turns = rng.random_range(fewest..=most);
        let mut scene = None;
        let mut all = vec![];
        for _ in 0..turns {
            let intent = drawn_intent(scene.is_some(), rng);
            let made = self.turn(intent, Allowed { shown: split, words: split }, scene, rng);
            scene = made.scene;
            all.push(made.turn);
        }
        let mut document = cut(all, rng);
        let draws = matches!(document.segments.last(), Some(Segment::Image { target: true, .. }));
        if draws && rng.random::<f64>() < self.config.context_drop {
            document.segments.drain(..document.segments.len() - 1);
        }
        document
    }

    /// Makes one turn, about the last image where there is one.
    fn turn(
        &self,
        intent: Intent,
        allowed: Allowed,
        last: Option<Scene>,
        rng: &mut ChaCha8Rng,
    ) -> Made {
        match intent {
            Intent::Draw => self.draw(allowed, rng),
            Intent::Read => self.read(allowed, last, rng),
            Intent::Which | Intent::Same => self.compare(intent, allowed, rng),
            Intent::DrawTwo => self.draw_two(allowed, rng),
            Intent::SayAndDraw => self.say_and_draw(allowed, rng),
            Intent::Ink | Intent::Background | Intent::Character => {
                self.edit(intent, allowed, last, rng)
            }
        }
    }

    fn draw(&self, allowed: Allowed, rng: &mut ChaCha8Rng) -> Made {
        if let Some(Example { image, caption }) = self.some_emoji(allowed, rng) {
            let asked = Intent::Draw.ask(allowed.words, &caption, "", rng);
            let turn = turn(vec![Segment::context_text(asked)], vec![Segment::target_image(image)]);
            return Made { turn, shown: vec![], scene: None };
        }
        let scene = self.scene(allowed.shown, rng);
        let asked = Intent::Draw.ask(allowed.words, &scene.shown.to_string(), "", rng);
        self.drawn(vec![Segment::context_text(asked)], scene)
    }

    fn read(&self, allowed: Allowed, last: Option<Scene>, rng: &mut ChaCha8Rng) -> Made {
        let question = Segment::context_text(Intent::Read.ask(allowed.words, "", "", rng));
        if let Some(last) = last {
            let answer = vec![Segment::target_text(last.shown.to_string())];
            return Made { turn: turn(vec![question], answer), shown: vec![], scene: Some(last) };
        }
        if let Some(Example { image, caption }) = self.some_emoji(allowed, rng) {
            let asked = vec![Segment::context_image(image), question];
            let turn = turn(asked, vec![Segment::target_text(caption)]);
            return Made { turn, shown: vec![], scene: None };
        }
        let scene = self.scene(allowed.shown, rng);
        let asked = vec![Segment::context_image(self.image(&scene)), question];
        let answer = vec![Segment::target_text(scene.shown.to_string())];
        Made { turn: turn(asked, answer), shown: vec![], scene: Some(scene) }
    }

    /// Changes one thing of the last image, or of an image that the user shows. What does not
    /// change stays where it is.
    fn edit(
        &self,
        intent: Intent,
        allowed: Allowed,
        last: Option<Scene>,
        rng: &mut ChaCha8Rng,
    ) -> Made {
        let follows = last.and_then(|last| {
            let shown = neighbor(intent, &last.shown, allowed.shown, rng)?;
            Some(Scene { shown, placement: last.placement })
        });
        let mut asked = vec![];
        let after = follows.unwrap_or_else(|| {
            let (before, after) = self.edited(intent, allowed.shown, rng);
            asked.push(Segment::context_image(self.image(&before)));
            after
        });
        self.edit_to(intent, allowed.words, asked, after, rng)
    }

    /// Makes the turn that asks for a change to `after`, behind what else was shown.
    fn edit_to(
        &self,
        intent: Intent,
        words: Split,
        mut asked: Vec<Segment>,
        after: Scene,
        rng: &mut ChaCha8Rng,
    ) -> Made {
        let named = match intent {
            Intent::Ink => after.shown.ink().to_string(),
            Intent::Background => after.shown.background().to_string(),
            _ => after.shown.text().to_owned(),
        };
        asked.push(Segment::context_text(intent.ask(words, &named, "", rng)));
        self.drawn(asked, after)
    }

    /// Draws a glyph of a split and one of the training split from which one edit leads to it.
    fn edited(&self, intent: Intent, split: Split, rng: &mut ChaCha8Rng) -> (Scene, Scene) {
        loop {
            let after = self.scene(split, rng);
            if let Some(shown) = neighbor(intent, &after.shown, Split::Train, rng) {
                return (Scene { shown, placement: after.placement }, after);
            }
        }
    }

    /// Asks about two images: which of them is in an ink, or whether they show the same. The answer
    /// to the second names both before it compares them: what stands in words is compared with
    /// ease, and a user sees why.
    fn compare(&self, intent: Intent, allowed: Allowed, rng: &mut ChaCha8Rng) -> Made {
        let (ink, answer, shown) = match intent {
            Intent::Which => {
                let (place, shown) = self.glyphs.in_two_inks(allowed.shown, rng);
                (shown[place as usize].ink().name(), place.word().to_owned(), shown)
            }
            _ => {
                let (likeness, shown) = self.glyphs.alike_or_not(allowed.shown, rng);
                let [first, second] = &shown;
                ("", format!("{first}, {second}: {}", likeness.word()), shown)
            }
        };
        let images = shown.map(|one| Segment::context_image(self.glyphs.draw(&one, rng).image));
        let question = Segment::context_text(intent.ask(allowed.words, ink, "", rng));
        let asked = images.into_iter().chain([question]).collect();
        let turn = turn(asked, vec![Segment::target_text(answer)]);
        Made { turn, shown: vec![], scene: None }
    }

    fn draw_two(&self, allowed: Allowed, rng: &mut ChaCha8Rng) -> Made {
        let scenes = [self.scene(allowed.shown, rng), self.scene(allowed.shown, rng)];
        let [first, second] = [0, 1].map(|at: usize| scenes[at].shown.to_string());
        let asked = Intent::DrawTwo.ask(allowed.words, &first, &second, rng);
        let answer = scenes.iter().map(|scene| Segment::target_image(self.image(scene))).collect();
        Made {
            turn: turn(vec![Segment::context_text(asked)], answer),
            shown: scenes.map(|scene| scene.shown).into(),
            scene: None,
        }
    }

    fn say_and_draw(&self, allowed: Allowed, rng: &mut ChaCha8Rng) -> Made {
        let scene = self.scene(allowed.shown, rng);
        let caption = scene.shown.to_string();
        let asked = Intent::SayAndDraw.ask(allowed.words, &caption, "", rng);
        let mut made = self.drawn(vec![Segment::context_text(asked)], scene);
        made.turn.answer.insert(0, Segment::target_text(format!("here is {caption}:")));
        made.turn.answer.push(Segment::target_text("done"));
        made
    }

    /// Makes the turn that an image answers.
    fn drawn(&self, asked: Vec<Segment>, scene: Scene) -> Made {
        let answer = vec![Segment::target_image(self.image(&scene))];
        Made { turn: turn(asked, answer), shown: vec![scene.shown.clone()], scene: Some(scene) }
    }

    fn scene(&self, split: Split, rng: &mut ChaCha8Rng) -> Scene {
        let shown = self.glyphs.combination(split, rng);
        Scene { shown, placement: self.glyphs.placement(1, rng) }
    }

    fn image(&self, scene: &Scene) -> Image {
        self.glyphs.draw_at(&scene.shown, &scene.placement)
    }

    /// Draws an emoji in a fifth of the cases; none is held out.
    fn some_emoji(&self, allowed: Allowed, rng: &mut ChaCha8Rng) -> Option<Example> {
        let taken = allowed.shown == Split::Train && !self.emoji.is_empty();
        (taken && rng.random_bool(0.2)).then(|| pick(&self.emoji, rng).clone())
    }
}

/// Says what a turn is about: by other shares where there is an image to talk about. What is hard
/// to learn, another character and two images beside each other, is asked more often.
fn drawn_intent(follows: bool, rng: &mut ChaCha8Rng) -> Intent {
    let weight = |intent: Intent| match intent {
        Intent::Draw if follows => 2.0,
        Intent::Draw => 5.0,
        Intent::Read | Intent::Ink | Intent::Background => 2.0,
        Intent::Character => 5.0,
        Intent::Which | Intent::Same if follows => 1.0,
        Intent::Which | Intent::Same => 2.0,
        _ if follows => 0.5,
        _ => 1.5,
    };
    Intent::ALL[weighted(&Intent::ALL.map(weight), rng)]
}

/// Changes the one property of a glyph that an intent names, so that the result is another glyph of
/// the split; none where few tries find no such glyph.
fn neighbor(
    intent: Intent,
    of: &Combination,
    split: Split,
    rng: &mut ChaCha8Rng,
) -> Option<Combination> {
    let other = |rng: &mut ChaCha8Rng| match intent {
        Intent::Ink => combine(of.text(), *pick(Ink::ALL, rng), of.background()),
        Intent::Background => combine(of.text(), of.ink(), *pick(Background::ALL, rng)),
        _ => combine(random_character(rng).encode_utf8(&mut [0; 4]), of.ink(), of.background()),
    };
    (0..64).map(|_| other(rng)).find(|found| found != of && found.split() == split)
}

fn turn(asked: Vec<Segment>, answer: Vec<Segment>) -> Turn {
    Turn { asked, answer }
}

/// Where a dialogue may end: behind so many pieces of the answer of a turn.
struct End {
    turn: usize,
    pieces: usize,
    /// Whether the model learns that the answer is over, rather than to draw its last image.
    finished: bool,
    weight: f64,
}

/// Cuts turns behind one answer, or behind one image that is to be drawn. The images before it are
/// clean, since later words must not depend on noise.
fn cut(mut turns: Vec<Turn>, rng: &mut ChaCha8Rng) -> Document {
    let mut ends = vec![];
    for (index, turn) in turns.iter().enumerate() {
        for (piece, segment) in turn.answer.iter().enumerate() {
            let pieces = piece + 1;
            let image = matches!(segment, Segment::Image { .. });
            if image {
                ends.push(End { turn: index, pieces, finished: false, weight: 3.0 });
            }
            if pieces == turn.answer.len() {
                let weight = if image { 0.3 } else { 2.0 };
                ends.push(End { turn: index, pieces, finished: true, weight });
            }
        }
    }
    let weights: Vec<f64> = ends.iter().map(|end| end.weight).collect();
    let end = &ends[weighted(&weights, rng)];
    turns.truncate(end.turn + 1);
    let last = &mut turns[end.turn].answer;
    last.truncate(end.pieces);
    if end.finished && matches!(last.last(), Some(Segment::Image { .. })) {
        last.push(Segment::target_text(""));
    }
    let mut document = Document::of_turns(turns);
    let kept = document.segments.len() - usize::from(!end.finished);
    for segment in &mut document.segments[..kept] {
        if let Segment::Image { target, .. } = segment {
            *target = false;
        }
    }
    document
}

/// Nothing ends; the texts for a tokenizer are those of 4096 dialogues.
impl DataSource for DialogueSet {
    fn name(&self) -> &'static str {
        "dialogue"
    }

    fn len(&self, _: Split) -> Option<u64> {
        None
    }

    fn load(&self, split: Split, _: u64, rng: &mut ChaCha8Rng) -> Result<Record, Skipped> {
        Ok(Record::Whole(self.dialogue(split, rng)))
    }

    fn captions(&self) -> Vec<String> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let dialogues = (0..TOKENIZER_DIALOGUES).map(|_| self.dialogue(Split::Train, &mut rng));
        let text = |segment| match segment {
            Segment::Text { text, .. } => Some(text),
            Segment::Image { .. } => None,
        };
        dialogues.flat_map(|dialogue| dialogue.segments).filter_map(text).collect()
    }

    fn describe(&self, sum: &mut Fingerprint) {
        for emoji in &self.emoji {
            sum.add(emoji.caption.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
