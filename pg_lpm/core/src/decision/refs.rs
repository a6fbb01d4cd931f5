//! Typed refs: a branch is a branch and a tag is a tag, whatever their names look like.

use super::case::Case;
use crate::claims::{GitHubJob, GitLabJob, Job};
use crate::pattern::Pattern;
use crate::policy::{Policy, events};

/// Branches that machines make: the merge queue's contain a fork's code, Dependabot's what a registry
/// serves. Only a pattern that spells the prefix out matches one; "every branch" does not mean them.
const MACHINE_BRANCHES: &[&str] = &["gh-readonly-queue/", "dependabot/"];

/// Longest name of a branch or tag that a rule looks at, in bytes: twice what GitHub and GitLab allow.
const LONGEST_NAME: usize = 512;

/// What the policy's patterns are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GitRef<'a> {
    /// The short name of a branch of the repository itself.
    Branch(&'a str),
    /// The short name of a tag.
    Tag(&'a str),
    /// Neither, or claims that contradict each other: satisfies no rule.
    Neither(Option<&'a str>),
}

/// The ref of the run that the policy speaks about.
pub(super) fn of<'a>(case: &Case<'a>) -> GitRef<'a> {
    let found = match &case.claims.job {
        Job::GitHub(job) => github(job),
        Job::GitLab(job) => gitlab(job),
    };
    match found {
        GitRef::Branch(name) | GitRef::Tag(name) if name.len() > LONGEST_NAME => GitRef::Neither(Some(name)),
        found => found,
    }
}

fn github(job: &GitHubJob) -> GitRef<'_> {
    match job.event_name.as_deref() {
        // `ref` is `refs/pull/N/merge`, or the base branch once merged; `head_ref` is the author's word.
        Some(events::PULL_REQUEST) => {
            job.base_ref.as_deref().map_or(GitRef::Neither(job.git_ref.as_deref()), GitRef::Branch)
        }
        Some(events::MERGE_GROUP) => match qualified(job) {
            GitRef::Branch(name) => {
                queue_base(name).map_or(GitRef::Neither(job.git_ref.as_deref()), GitRef::Branch)
            }
            _ => GitRef::Neither(job.git_ref.as_deref()),
        },
        _ => qualified(job),
    }
}

/// `ref` in full, which `ref_type` must not contradict: it is `branch` for `refs/pull/N/merge` as well,
/// so it is never enough alone.
fn qualified(job: &GitHubJob) -> GitRef<'_> {
    let git_ref = job.git_ref.as_deref();
    let ref_type = job.ref_type.as_deref();
    match git_ref.and_then(typed) {
        Some(found @ GitRef::Branch(_)) if matches!(ref_type, None | Some("branch")) => found,
        Some(found @ GitRef::Tag(_)) if matches!(ref_type, None | Some("tag")) => found,
        _ => GitRef::Neither(git_ref),
    }
}

/// `ref` is short, so a tag and a branch may share it: `ref_path` must say the same as `ref_type`.
fn gitlab(job: &GitLabJob) -> GitRef<'_> {
    let shown = job.ref_path.as_deref().or(job.git_ref.as_deref());
    match (job.ref_type.as_deref(), job.ref_path.as_deref().and_then(typed), job.git_ref.as_deref()) {
        (Some("branch"), Some(GitRef::Branch(path)), Some(name)) if path == name => GitRef::Branch(path),
        (Some("tag"), Some(GitRef::Tag(path)), Some(name)) if path == name => GitRef::Tag(path),
        _ => GitRef::Neither(shown),
    }
}

/// Strips exactly one prefix: git allows a branch that is itself named `refs/heads/main`.
fn typed(full: &str) -> Option<GitRef<'_>> {
    let branch = full.strip_prefix("refs/heads/").map(GitRef::Branch);
    let found = branch.or_else(|| full.strip_prefix("refs/tags/").map(GitRef::Tag))?;
    (!matches!(found, GitRef::Branch("") | GitRef::Tag(""))).then_some(found)
}

/// `<base>` of `gh-readonly-queue/<base>/pr-<number>-<commit>`.
fn queue_base(branch: &str) -> Option<&str> {
    let (base, entry) = branch.strip_prefix("gh-readonly-queue/")?.rsplit_once('/')?;
    let (number, commit) = entry.strip_prefix("pr-")?.split_once('-')?;
    let sound = !base.is_empty()
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && commit.len() >= 40
        && commit.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then_some(base)
}

/// Whether the policy's branch rule accepts this branch.
pub(super) fn allows_branch(policy: &Policy, name: &str) -> bool {
    let machine = MACHINE_BRANCHES.iter().find(|prefix| name.starts_with(**prefix));
    if policy.allowed_branches.is_empty() {
        return !policy.tags_only() && machine.is_none();
    }
    policy.allowed_branches.iter().any(|pattern| {
        pattern.matches(name) && machine.is_none_or(|prefix| pattern.literal_prefix().starts_with(prefix))
    })
}

/// Whether the policy's tag rule accepts this tag.
pub(super) fn allows_tag(policy: &Policy, name: &str) -> bool {
    policy.allowed_tags.iter().flatten().any(|pattern: &Pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334";

    #[test]
    fn p02_one_prefix_is_stripped_and_never_two() {
        assert_eq!(typed("refs/heads/main"), Some(GitRef::Branch("main")));
        assert_eq!(typed("refs/heads/refs/heads/main"), Some(GitRef::Branch("refs/heads/main")));
        assert_eq!(typed("refs/tags/main"), Some(GitRef::Tag("main")));
        assert_eq!(typed("refs/heads/-rf"), Some(GitRef::Branch("-rf")));
        for neither in [
            "",
            "main",
            "HEAD",
            "@",
            "heads/main",
            "/refs/heads/main",
            "refs/heads",
            "refs/heads/",
            "refs/tags/",
            "refs/pull/9/merge",
            "refs/Heads/main",
            "REFS/HEADS/main",
            " refs/heads/main",
        ] {
            assert_eq!(typed(neither), None, "{neither:?}");
        }
    }

    #[test]
    fn a_queue_branch_names_its_base() {
        assert_eq!(queue_base(&format!("gh-readonly-queue/main/pr-7-{SHA}")), Some("main"));
        assert_eq!(queue_base(&format!("gh-readonly-queue/release/1.0/pr-7-{SHA}")), Some("release/1.0"));
        assert_eq!(
            queue_base(&format!("gh-readonly-queue/a/pr-1-{SHA}/pr-7-{SHA}")),
            Some(format!("a/pr-1-{SHA}").as_str()),
            "the last part is the queue's, the rest a branch's name"
        );
        for neither in [
            "main".to_owned(),
            format!("gh-readonly-queue/pr-7-{SHA}"),
            format!("gh-readonly-queue//pr-7-{SHA}"),
            format!("gh-readonly-queue/main/pr-x-{SHA}"),
            format!("gh-readonly-queue/main/pr--{SHA}"),
            format!("gh-readonly-queue/main/x/{SHA}"),
            "gh-readonly-queue/main/pr-7-0f1e".to_owned(),
            format!("x/gh-readonly-queue/main/pr-7-{SHA}"),
        ] {
            assert_eq!(queue_base(&neither), None, "{neither}");
        }
    }
}
