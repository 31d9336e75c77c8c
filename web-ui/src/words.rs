//! Every word of the page, in every language. Pure.
//!
//! A text is a name in [`W`] or [`Cause`]; a phrase, which takes figures or
//! names into it, is a function of [`phrases`]. All are tables of one line a text with all
//! its languages, so that a missing one does not compile, and neither does a
//! phrase whose languages do not use the same parts. What the API says in its
//! own words (an alert's summary, a metric's description, an error's detail)
//! is data and stays as it is.

use std::cell::Cell;

mod causes;
mod texts;

pub mod phrases;

pub use causes::Cause;
pub use texts::W;

/// A language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    English,
    /// Traditional Chinese as it is written in Taiwan.
    Chinese,
}

impl Lang {
    /// All, in the order in which the tables have them.
    #[cfg(test)]
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// Its name by BCP 47, as the document's `lang` has it.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-TW",
        }
    }

    /// Its name in itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Chinese => "繁體中文",
        }
    }

    /// Its name on a small button.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::English => "EN",
            Self::Chinese => "中文",
        }
    }

    /// The language that a tag of a browser asks for, such as `zh-Hant-HK`;
    /// `None` for one that is not spoken here.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        let tag = tag.to_ascii_lowercase();
        match tag.split(['-', '_']).next() {
            Some("en") => Some(Self::English),
            // Simplified script is read more easily here than English.
            Some("zh") => Some(Self::Chinese),
            _ => None,
        }
    }
}

thread_local! {
    // The page is one thread; tests of the host are one each.
    static SPOKEN: Cell<Lang> = const { Cell::new(Lang::English) };
}

/// The language spoken now.
#[must_use]
pub fn spoken() -> Lang {
    SPOKEN.get()
}

/// Speaks a language from now on; what is shown already stays until it is
/// made anew.
pub fn speak(lang: Lang) {
    SPOKEN.set(lang);
}

/// The name of a text that stands alone.
pub trait Text {
    /// The text in a language.
    #[must_use]
    fn in_lang(self, lang: Lang) -> &'static str;
}

/// A text in the language spoken now.
#[must_use]
pub fn t(text: impl Text) -> &'static str {
    text.in_lang(spoken())
}

/// Puts parts in the places of a pattern: `{0} of {1}`.
fn fill(patterns: &[&str; 2], parts: &[&str]) -> String {
    let mut rest = patterns[spoken() as usize];
    let mut text = String::with_capacity(rest.len() + 16);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        // Every place is checked when the table is compiled.
        let place = usize::from(after.as_bytes()[0] - b'0');
        text.push_str(parts[place]);
        rest = &after[2..];
    }
    text.push_str(rest);
    text
}

/// Whether a pattern has the places `{0}` to `{n - 1}`, each at least once,
/// and no other brace.
const fn has_places(pattern: &str, n: usize) -> bool {
    let pattern = pattern.as_bytes();
    let mut found = 0_u32;
    let mut i = 0;
    while i < pattern.len() {
        if pattern[i] == b'{' {
            if i + 2 >= pattern.len() || pattern[i + 2] != b'}' {
                return false;
            }
            let place = pattern[i + 1].wrapping_sub(b'0') as usize;
            if place >= n {
                return false;
            }
            found |= 1 << place;
            i += 3;
        } else if pattern[i] == b'}' {
            return false;
        } else {
            i += 1;
        }
    }
    found == (1 << n) - 1
}

/// Makes the names of texts and their languages.
macro_rules! table {
    ($table:ident: $($name:ident = $english:literal, $chinese:literal;)+) => {
        /// The name of a text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $table {
            $(#[doc = $english] $name,)+
        }

        const ENGLISH: &[&str] = &[$($english),+];
        const CHINESE: &[&str] = &[$($chinese),+];

        impl crate::words::Text for $table {
            fn in_lang(self, lang: crate::words::Lang) -> &'static str {
                let texts = match lang {
                    crate::words::Lang::English => ENGLISH,
                    crate::words::Lang::Chinese => CHINESE,
                };
                texts[self as usize]
            }
        }

        #[cfg(test)]
        pub(super) const BOTH: [&[&str]; 2] = [ENGLISH, CHINESE];
    };
}

/// Makes functions of phrases; each language must use every part.
macro_rules! phrase {
    ($($name:ident($($part:ident),+) = $english:literal, $chinese:literal;)+) => {
        $(
            #[doc = $english]
            #[must_use]
            pub fn $name($($part: &str),+) -> String {
                const N: usize = [$(stringify!($part)),+].len();
                const {
                    assert!(crate::words::has_places($english, N));
                    assert!(crate::words::has_places($chinese, N));
                }
                crate::words::fill(&[$english, $chinese], &[$($part),+])
            }
        )+

        #[cfg(test)]
        pub(super) const ALL: &[[&str; 2]] = &[$([$english, $chinese]),+];
    };
}

use {phrase, table};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_browsers_find_their_language() {
        for (tag, expected) in [
            ("en", Some(Lang::English)),
            ("en-GB", Some(Lang::English)),
            ("zh-TW", Some(Lang::Chinese)),
            ("zh-Hant-HK", Some(Lang::Chinese)),
            ("ZH_tw", Some(Lang::Chinese)),
            ("zh", Some(Lang::Chinese)),
            ("de-DE", None),
            ("zhx", None),
            ("", None),
        ] {
            assert_eq!(Lang::of_tag(tag), expected, "{tag:?}");
        }
        for lang in Lang::ALL {
            assert_eq!(Lang::of_tag(lang.tag()), Some(lang));
        }
    }

    #[test]
    fn every_text_is_there_in_every_language_and_chinese_is_chinese() {
        // Names and abbreviations are the same everywhere.
        let names = [
            "CPU",
            "API",
            "p50",
            "p95",
            "p99",
            "io_uring",
            "Docker",
            "UNIX socket",
            "1xx",
            "2xx",
            "3xx",
            "4xx",
            "5xx",
            "server-sent events",
        ];
        let tables = [texts::BOTH, causes::BOTH].into_iter();
        let pairs = tables.flat_map(|[english, chinese]| {
            let pairs = english.iter().zip(chinese);
            pairs.map(|(e, c)| [*e, *c])
        });
        for [english, chinese] in pairs.chain(phrases::ALL.iter().copied()) {
            assert!(!english.is_empty());
            let is_han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
            assert!(!english.contains(is_han), "{english}");
            // Figures and signs alone are the same too.
            let mut words = english.to_owned();
            for name in names {
                words = words.replace(name, "");
            }
            let same = !words.contains(char::is_alphabetic) || chinese.starts_with(['{', '/']);
            assert!(chinese.contains(is_han) || same, "{english}: {chinese}");
            // Both end a sentence, or neither does.
            assert_eq!(
                english.trim_end().ends_with('.'),
                chinese.ends_with('。'),
                "{english}: {chinese}"
            );
        }
    }

    #[test]
    fn phrases_put_their_parts_where_the_language_wants_them() {
        assert_eq!(phrases::of_events("1", "2"), "1 of 2 events");
        speak(Lang::Chinese);
        assert_eq!(phrases::of_events("1", "2"), "2 個事件中的 1 個");
        assert_eq!(t(W::Overview), "總覽");
        speak(Lang::English);
        assert_eq!(t(W::Overview), "Overview");
    }

    /// Attributes that are read, and what may stand in them as it is.
    #[test]
    fn nothing_readable_is_written_outside_of_the_tables() {
        let sources = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        let mut n_files = 0;
        for folder in ["components", "pages"] {
            for entry in std::fs::read_dir(sources.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let source = std::fs::read_to_string(&path).unwrap();
                n_files += 1;
                for (i, line) in source.lines().enumerate() {
                    let line = line.trim();
                    let readable = [
                        "data-label=\"",
                        "title=\"",
                        "aria-label=\"",
                        "placeholder=\"",
                    ];
                    let attribute = readable.iter().any(|a| line.contains(a));
                    // A text between tags, on a line of its own or not.
                    let child = line.split("\">\"").nth(1).or(line.split(">\"").nth(1));
                    let child = child.is_some_and(|c| {
                        c.chars().take(3).filter(|c| c.is_alphabetic()).count() > 1
                    });
                    let kept = ["modeltap", "docker run"];
                    let is_kept = kept.iter().any(|k| line.contains(k));
                    assert!(
                        is_kept || !(attribute || child),
                        "{path:?}:{}: {line}",
                        i + 1
                    );
                }
            }
        }
        assert!(n_files > 30, "{n_files}");
    }

    #[test]
    fn patterns_with_a_wrong_place_are_found() {
        for (pattern, n, expected) in [
            ("{0} of {1}", 2, true),
            ("{1}: {0} {0}", 2, true),
            ("{0}", 2, false),
            ("{0} {1} {2}", 2, false),
            ("{x}", 1, false),
            ("{0", 1, false),
            ("0}", 0, false),
        ] {
            assert_eq!(has_places(pattern, n), expected, "{pattern}");
        }
    }
}
