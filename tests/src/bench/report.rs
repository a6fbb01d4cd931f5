//! What was measured: a table for people, JSON lines for programs.

use serde_json::json;
use std::fmt::Write as _;

/// One figure.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name, which stays the same between versions.
    pub name: &'static str,
    /// The value.
    pub value: f64,
    /// What the value counts.
    pub unit: &'static str,
}

/// Figures in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub struct Report {
    metrics: Vec<Metric>,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.metrics.push(Metric { name, value, unit });
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.metrics.iter().map(|metric| metric.name.len()).max().unwrap_or_default();
        let mut table = String::new();
        for Metric { name, value, unit } in &self.metrics {
            let digits = if *value < 10.0 { 3 } else { 0 };
            let _ = writeln!(table, "{name:width$}  {value:>12.digits$}  {unit}");
        }
        table
    }

    /// One JSON object a line.
    #[must_use]
    pub fn json_lines(&self) -> String {
        self.metrics.iter().fold(String::new(), |mut lines, Metric { name, value, unit }| {
            let _ = writeln!(lines, "{}", json!({ "metric": name, "value": value, "unit": unit }));
            lines
        })
    }
}

/// The middle one of some figures, or the mean of the middle two.
///
/// # Panics
///
/// Without any figures.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    assert!(!figures.is_empty(), "nothing was measured");
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
    }

    #[test]
    fn a_report_is_a_table_and_json_lines() {
        let mut report = Report::default();
        report.add("pull_one_step_per_s", 1234.4, "1/s");
        report.add("ratio", 0.251, "");
        assert_eq!(
            report.table(),
            "pull_one_step_per_s          1234  1/s\nratio                       0.251  \n"
        );
        let lines: Vec<serde_json::Value> =
            report.json_lines().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0], json!({ "metric": "pull_one_step_per_s", "value": 1234.4, "unit": "1/s" }));
        assert_eq!(lines.len(), 2);
    }
}
