//! The named colors of drawn glyphs: six inks on four backgrounds. Every ink is legible on every
//! background, and the inks leave each background in clearly different directions of RGB, so that
//! [`crate::judge`] can tell a thin grayish stroke of one ink from a thick stroke of another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Writes an enum of named colors with its list, names and RGB values in one place.
macro_rules! colors {
    ($(#[$doc:meta])* $name:ident: $($variant:ident $word:literal $rgb:expr,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $(#[doc = concat!("The color ", $word, ".")] $variant,)+
        }

        impl $name {
            /// Every color, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the word that captions use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Returns red, green and blue, 0 to 255.
            pub const fn rgb(self) -> [u8; 3] {
                match self { $(Self::$variant => $rgb,)+ }
            }

            /// Returns the color of that name.
            pub fn of_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|color| color.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

colors! {
    /// What a glyph is drawn in.
    Ink:
    Red "red" [214, 24, 36],
    Green "green" [16, 130, 48],
    Blue "blue" [24, 64, 220],
    Black "black" [16, 16, 16],
    Orange "orange" [236, 104, 8],
    Purple "purple" [132, 32, 168],
}

colors! {
    /// What a glyph is drawn on.
    Background:
    White "white" [255, 255, 255],
    Yellow "yellow" [255, 240, 120],
    Gray "gray" [188, 188, 188],
    Cyan "cyan" [140, 232, 236],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_found_by_the_names_they_print() {
        for &ink in Ink::ALL {
            assert_eq!(Ink::of_name(&ink.to_string()), Some(ink));
        }
        for &background in Background::ALL {
            assert_eq!(Background::of_name(&background.to_string()), Some(background));
        }
        assert_eq!(Ink::of_name("white"), None);
    }
}
