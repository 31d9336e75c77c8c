//! Tables as userspace/docs/performance.md has them.

/// A table of Markdown.
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// With these columns, and no rows yet.
    pub fn new(columns: &[&str]) -> Self {
        let rule = vec!["---"; columns.len()];
        Self {
            columns: columns.len(),
            text: format!("| {} |\n|{}|\n", columns.join(" | "), rule.join("|")),
        }
    }

    /// Adds a row; cells that are missing stay empty.
    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns, String::new());
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }

    /// Prints it.
    pub fn print(&self) {
        println!("\n{}", self.text);
    }
}

/// The middle value, the higher one of two; zero if there is none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// How far values lie apart, as a share of their median.
pub fn spread(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    match median(values.iter().copied()) {
        0.0 => 0.0,
        middle => (most - least) / middle,
    }
}

/// A share with its sign, in hundredths.
pub fn percent(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fill_their_columns() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec!["1".to_owned()]);
        assert_eq!(table.text, "| a | b |\n|---|---|\n| 1 |  |\n");
    }

    #[test]
    fn middle_value_is_told_with_its_spread() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([]), 0.0);
        assert_eq!(spread(&[10.0, 11.0, 9.0]), 0.2);
        assert_eq!(percent(0.0149), "+1.5 %");
    }
}
