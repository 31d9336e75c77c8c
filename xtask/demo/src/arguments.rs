//! `--name value` pairs of a command line.

use std::fmt;
use std::str::FromStr;

/// Options of a command line, each taken at most once.
#[derive(Debug)]
pub struct Arguments {
    pairs: Vec<(String, String)>,
}

/// Says which argument is wrong, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct ArgumentError(String);

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ArgumentError {}

impl Arguments {
    /// Reads the options that follow the program's name.
    ///
    /// # Errors
    /// When a word is no option, or an option lacks its value.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgumentError> {
        let mut pairs = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .ok_or_else(|| ArgumentError(format!("expected an option, got {word:?}")))?;
            let value = words
                .next()
                .ok_or_else(|| ArgumentError(format!("option --{name} lacks its value")))?;
            pairs.push((name.to_owned(), value));
        }
        Ok(Self { pairs })
    }

    /// Takes option `name`, or `default` where it was not given.
    ///
    /// # Errors
    /// When the value does not parse.
    pub fn take<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, ArgumentError> {
        let Some(index) = self.pairs.iter().position(|(given, _)| given == name) else {
            return Ok(default);
        };
        let (_, value) = self.pairs.remove(index);
        value
            .parse()
            .map_err(|_| ArgumentError(format!("option --{name} does not accept {value:?}")))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When an option is left that nobody took.
    pub fn finish(self) -> Result<(), ArgumentError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(ArgumentError(format!("unknown option --{name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentError> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn given_option_replaces_the_default() {
        let mut arguments = parse("--port 9000").unwrap();
        assert_eq!(arguments.take("port", 8080_u16).unwrap(), 9000);
        assert_eq!(arguments.take("rate", 2.5_f64).unwrap(), 2.5);
        arguments.finish().unwrap();
    }

    #[test]
    fn wrong_words_are_named() {
        for (line, expected) in [
            ("port", "expected an option, got \"port\""),
            ("--port", "option --port lacks its value"),
            ("--port x", "option --port does not accept \"x\""),
            ("--colour red", "unknown option --colour"),
        ] {
            let outcome = parse(line).and_then(|mut arguments| {
                arguments.take("port", 8080_u16)?;
                arguments.finish()
            });
            assert_eq!(outcome.unwrap_err().to_string(), expected, "{line}");
        }
    }
}
