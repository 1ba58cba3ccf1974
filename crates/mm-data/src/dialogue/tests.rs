//! Dialogues end where they must, and hold out what they say.

use super::*;

fn dialogues() -> DialogueSet {
    let image = ImageSettings { width: 32, height: 32, patch: 8 };
    DialogueSet::open(&DialogueConfig::default(), image).unwrap()
}

/// The documents of many random numbers.
fn many(split: Split) -> Vec<Document> {
    let set = dialogues();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    (0..400).map(|_| set.dialogue(split, &mut rng)).collect()
}

#[test]
fn only_the_last_segment_of_a_dialogue_is_noised() {
    let mut drawn = 0;
    for document in many(Split::Train) {
        let (last, before) = document.segments.split_last().unwrap();
        drawn += usize::from(matches!(last, Segment::Image { target: true, .. }));
        assert!(before.iter().all(|one| !matches!(one, Segment::Image { target: true, .. })));
        assert!(!matches!(
            last,
            Segment::Text { target: false, .. } | Segment::Image { target: false, .. }
        ));
    }
    assert!((120..320).contains(&drawn), "{drawn}");
}

#[test]
fn what_is_held_out_is_never_trained_on() {
    let set = dialogues();
    let held_out: Vec<String> = Combination::singles()
        .filter(|one| one.split() == Split::HeldOut)
        .map(|one| one.to_string())
        .collect();
    let phrasings: Vec<&String> = [Intent::Read, Intent::Same]
        .iter()
        .flat_map(|intent| intent.phrasings(Split::HeldOut))
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for _ in 0..2000 {
        for segment in set.dialogue(Split::Train, &mut rng).segments {
            if let Segment::Text { text, .. } = segment {
                assert!(!held_out.iter().any(|caption| text.contains(caption.as_str())), "{text}");
                assert!(!phrasings.contains(&&text), "{text}");
            }
        }
    }
}

#[test]
fn an_edit_of_a_color_leaves_every_other_pixel_as_it_was() {
    let set = dialogues();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..50 {
        let (before, after) = set.edited(Intent::Ink, Split::Train, &mut rng);
        assert_eq!(before.shown.text(), after.shown.text());
        assert_ne!(before.shown.ink(), after.shown.ink());
        let background = before.shown.background().rgb();
        let (before, after) = (set.image(&before), set.image(&after));
        for at in 0..32 * 32 {
            let (x, y) = (at % 32, at / 32);
            let off = |color: [u8; 3]| (0..3).map(|of| color[of].abs_diff(background[of])).max();
            // Where one ink covers so little that it rounds to nothing, another adds a step or two.
            if before.pixel(x, y) == background {
                assert!(off(after.pixel(x, y)) <= Some(2), "({x}, {y})");
            }
        }
    }
}

#[test]
fn a_question_ends_where_its_answer_begins() {
    let set = dialogues();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for intent in Intent::ALL {
        for follows in [false, true] {
            for words in Split::ALL {
                let question = set.question(intent, words, follows, &mut rng);
                let last = question.prompt.segments.last();
                assert_eq!(last, Some(&Segment::context_text(mm_model::TURN_END)));
                let images =
                    question.answer.iter().filter(|one| matches!(one, Segment::Image { .. }));
                assert_eq!(images.count(), question.shown.len(), "{intent:?}");
                assert!(question.shown.iter().all(|shown| shown.split() == Split::HeldOut));
            }
        }
    }
}

#[test]
fn a_comparison_names_both_images_and_says_same_where_the_names_are_equal() {
    let set = dialogues();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut same = 0;
    for _ in 0..100 {
        let question = set.question(Intent::Same, Split::Train, false, &mut rng);
        let [Segment::Text { text, .. }] = &question.answer[..] else { panic!() };
        let (both, verdict) = text.split_once(": ").unwrap();
        let (first, second) = both.split_once(", ").unwrap();
        assert_eq!(verdict, if first == second { "same" } else { "different" });
        same += usize::from(verdict == "same");
    }
    assert!((30..70).contains(&same), "{same}");
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let open = |text: &str| {
        let config: DialogueConfig = toml::from_str(text).unwrap();
        let image = ImageSettings { width: 32, height: 32, patch: 8 };
        DialogueSet::open(&config, image).unwrap_err().to_string()
    };
    assert!(open("turns = [2, 1]").starts_with("`turns` is `[2, 1]`"));
    assert!(open("context_drop = 1.5").starts_with("`context_drop` is `1.5`"));
    assert!(open("emoji = 100000").starts_with("`emoji` is `100000`"));
    assert!(open("faces = ['x']").starts_with("`faces` is `x`"));
}
