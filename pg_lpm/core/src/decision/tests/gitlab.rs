//! Pipelines, forks and refs on GitLab (steps 5 and 6).

use super::*;
use crate::support::claims::gitlab;

fn table(rows: Vec<Row>) {
    run_table(gitlab, gitlab_policy, rows);
}

#[test]
fn any_source_is_allowed_where_the_project_is_certain() {
    for source in ["push", "web", "merge_request_event", "parent_pipeline", "pipeline", "a_new_source"] {
        table(vec![
            ("P18", one("pipeline_source", source), json!({}), "granted"),
            (
                "narrowed",
                one("pipeline_source", source),
                one("allowedEvents", json!(["schedule"])),
                "event_not_allowed",
            ),
            ("", one("pipeline_source", source), one("allowedEvents", json!([source])), "granted"),
        ]);
    }
}

#[test]
fn gitlab_names_are_exact() {
    table(vec![
        ("", json!({}), one("subject", "project:20"), "granted"),
        ("", json!({}), one("subject", "project:2"), "no_policy"),
        ("", json!({}), one("subject", "project:my-group/my-project2"), "no_policy"),
    ]);
}
