//! Workflow files in policies and claims.
//!
//! A claim is `file@ref`, and both halves may hold `@` (a file named `deploy.yml@evil.yml`, a branch
//! named `x@y`). So a claim is never taken apart by searching for `@`: the ref is known from another
//! claim or from the policy, and what stands before it must be the file byte for byte. For the same
//! reason no file that a policy names may hold `@`.

use super::subject::is_repository;

const DIRECTORY: &str = ".github/workflows/";
/// Longest file or ref in a policy, in bytes.
const MAX: usize = 512;

/// The normal form of a policy's `workflow` on GitHub: `.github/workflows/file.yml`.
///
/// Accepted are the bare file name, its path, and its path after the subject's own repository.
pub(super) fn github_file(text: &str, repository: &str) -> Result<String, &'static str> {
    if text.contains('@') {
        return Err("must be a file only: the ref is what `allowedBranches` and `allowedTags` are for");
    }
    let path = match text.split_once("/.github/") {
        Some((named, _)) if !named.eq_ignore_ascii_case(repository) => {
            return Err("is in another repository: a called workflow is named by `reusableWorkflow`");
        }
        Some((named, _)) => &text[named.len() + 1..],
        None => text,
    };
    let file = path.strip_prefix(DIRECTORY).unwrap_or(path);
    if is_workflow_file(file) {
        Ok(format!("{DIRECTORY}{file}"))
    } else {
        Err("must be a file of `.github/workflows`, such as `deploy.yml`")
    }
}

/// The normal form of a policy's `workflow` on GitLab: the path of the CI configuration.
pub(super) fn gitlab_file(text: &str) -> Result<String, &'static str> {
    let sound = is_plain(text) && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if sound {
        Ok(text.to_owned())
    } else {
        Err("must be the path of the CI configuration in the project, such as `.gitlab-ci.yml`")
    }
}

/// The normal form of `reusableWorkflow`: `owner/repo/.github/workflows/file.yml@ref`, the repository in
/// ASCII lower case.
pub(super) fn reusable(text: &str) -> Result<String, &'static str> {
    let (path, git_ref) = text.split_once('@').ok_or("must name its ref: `…/file.yml@refs/tags/v1`")?;
    let (repository, file) = path
        .split_once(&format!("/{DIRECTORY}"))
        .filter(|(repository, file)| is_repository(repository) && is_workflow_file(file))
        .ok_or("must be written `owner/repo/.github/workflows/file.yml@ref`")?;
    let name = git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/tags/"));
    match name {
        Some(name) if is_plain_ref(name) => {}
        None if is_commit(git_ref) => {}
        _ => {
            return Err("must name its ref in full: `refs/heads/…`, `refs/tags/…` or 40 hexadecimal digits");
        }
    }
    Ok(format!("{}/{DIRECTORY}{file}@{git_ref}", repository.to_ascii_lowercase()))
}

/// Whether the text is a commit's hash, which unlike a branch or tag never moves.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether GitHub's `claim` is `file` (`.github/workflows/…`) of `repository` at one of the known refs.
pub(crate) fn is_github_file(claim: &str, repository: &str, file: &str, refs: [Option<&str>; 2]) -> bool {
    known_refs(claim, refs)
        .filter_map(|path| path.strip_suffix(file)?.strip_suffix('/'))
        .any(|named| named.eq_ignore_ascii_case(repository))
}

/// Whether GitHub's `claim` is the reusable workflow that a policy names (in its normal form); where it
/// is named at a commit, that commit is also what ran.
pub(crate) fn is_reusable(claim: &str, ran: Option<&str>, named: &str) -> bool {
    let Some((path, git_ref)) = named.split_once('@') else { return false };
    let Some((repository, name)) = path.split_once(&format!("/{DIRECTORY}")) else { return false };
    is_github_file(claim, repository, &format!("{DIRECTORY}{name}"), [Some(git_ref), None])
        && (!is_commit(git_ref) || ran == Some(git_ref))
}

/// Whether GitLab's `claim` (`host/project//file@ref`) is `file` of `project` at one of the known refs.
///
/// The host is the issuer's own, or at least no path: behind `host/group` could stand another project
/// whose path ends the same way.
pub(crate) fn is_gitlab_file(
    claim: &str,
    issuer: &str,
    project: &str,
    file: &str,
    refs: [Option<&str>; 2],
) -> bool {
    let own = issuer.split_once("://").map_or(issuer, |(_, host)| host);
    known_refs(claim, refs)
        .filter_map(|path| {
            path.strip_suffix(file)?.strip_suffix("//")?.strip_suffix(project)?.strip_suffix('/')
        })
        .any(|host| host == own || (!host.is_empty() && !host.contains('/')))
}

/// What stands before `@ref`, for each ref that is known.
fn known_refs<'a>(claim: &'a str, refs: [Option<&'a str>; 2]) -> impl Iterator<Item = &'a str> {
    refs.into_iter().flatten().filter_map(|known| claim.strip_suffix(known)?.strip_suffix('@'))
}

fn is_workflow_file(file: &str) -> bool {
    let stem = file.strip_suffix(".yml").or_else(|| file.strip_suffix(".yaml"));
    is_plain(file) && !file.contains('/') && stem.is_some_and(|stem| !stem.is_empty())
}

fn is_plain(text: &str) -> bool {
    (1..=MAX).contains(&text.len()) && !text.chars().any(|c| c.is_control() || matches!(c, '@' | '\\'))
}

fn is_plain_ref(name: &str) -> bool {
    (1..=MAX).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334";

    #[test]
    fn a_workflow_has_one_normal_form() {
        for text in ["deploy.yml", ".github/workflows/deploy.yml", "Acme/Web/.github/workflows/deploy.yml"] {
            assert_eq!(github_file(text, "acme/web").as_deref(), Ok(".github/workflows/deploy.yml"));
        }
        assert_eq!(gitlab_file("ci/main.yml").as_deref(), Ok("ci/main.yml"));
        for git_ref in ["refs/tags/v3", "refs/heads/main", "refs/heads/x@y", SHA] {
            assert_eq!(
                reusable(&format!("Acme/CI/.github/workflows/R.yml@{git_ref}")),
                Ok(format!("acme/ci/.github/workflows/R.yml@{git_ref}"))
            );
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "deploy",
            ".yml",
            "sub/deploy.yml",
            "../deploy.yml",
            "deploy.yml@evil.yml",
            "deploy.yml@refs/heads/main",
            "evil/web/.github/workflows/deploy.yml",
            "deploy\n.yml",
        ] {
            assert!(github_file(text, "acme/web").is_err(), "{text:?}");
        }
        for text in ["", "/x.yml", "a//b.yml", "../x.yml", "a/./b", ".gitlab-ci.yml@group/other", "a\0"] {
            assert!(gitlab_file(text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "acme/ci/.github/workflows/r.yml",
            "r.yml@refs/tags/v1",
            "./.github/workflows/r.yml@refs/tags/v1",
            "acme/ci/.github/workflows/r.yml@",
            "acme/ci/.github/workflows/r.yml@v1",
            "acme/ci/.github/workflows/r.yml@main",
            "acme/ci/.github/workflows/r.yml@refs/heads/",
            "acme/ci/.github/workflows/r.yml@refs/heads/a b",
            "acme/ci/.github/workflows/r.yml@refs/tags/v1\n",
            "acme/ci/.github/workflows/r.yml@refs/pull/1/merge",
            "acme/ci/.github/workflows/r.yml@0F1E2D3C4B5A69788796A5B4C3D2E1F001122334",
            "acme/ci/.github/workflows/r.yml@evil.yml@refs/tags/v1",
            "acme/*/.github/workflows/r.yml@refs/tags/v1",
            "acme/ci/workflows/r.yml@refs/tags/v1",
        ] {
            assert!(reusable(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn p21_a_claim_is_split_at_the_known_ref() {
        let fits = |claim: &str, git_ref: &str| {
            is_github_file(claim, "acme/web", ".github/workflows/deploy.yml", [Some(git_ref), Some(SHA)])
        };
        assert!(fits("acme/web/.github/workflows/deploy.yml@refs/heads/main", "refs/heads/main"));
        assert!(fits("Acme/WEB/.github/workflows/deploy.yml@refs/heads/main", "refs/heads/main"));
        assert!(fits(&format!("acme/web/.github/workflows/deploy.yml@{SHA}"), "refs/heads/main"));
        assert!(fits("acme/web/.github/workflows/deploy.yml@refs/heads/a@b", "refs/heads/a@b"));
        for (claim, git_ref) in [
            ("acme/web/.github/workflows/deploy.yml@evil.yml@refs/heads/main", "refs/heads/main"),
            ("acme/web/.github/workflows/deploy.yml@refs/heads/x", "refs/heads/main"),
            ("acme/web/.github/workflows/deploy.yml", "refs/heads/main"),
            ("acme/web/.github/workflows/DEPLOY.yml@refs/heads/main", "refs/heads/main"),
            ("acme/web/.github/workflows/xdeploy.yml@refs/heads/main", "refs/heads/main"),
            ("acme/web/x/.github/workflows/deploy.yml@refs/heads/main", "refs/heads/main"),
            ("evil/web/.github/workflows/deploy.yml@refs/heads/main", "refs/heads/main"),
            ("x/acme/web/.github/workflows/deploy.yml@refs/heads/main", "refs/heads/main"),
            (".github/workflows/deploy.yml@refs/heads/main", "refs/heads/main"),
            (
                "acme/web/.github/workflows/evil.yml@refs/heads/x/.github/workflows/deploy.yml@y",
                "refs/heads/x/.github/workflows/deploy.yml@y",
            ),
            ("", "refs/heads/main"),
        ] {
            assert!(!fits(claim, git_ref), "{claim}");
        }
        let unknown = [None, None];
        assert!(!is_github_file("acme/web/f.yml@x", "acme/web", "f.yml", unknown), "no known ref");
    }

    #[test]
    fn p21_gitlab_names_host_project_and_file() {
        let fits = |claim: &str| {
            let refs = [Some("refs/heads/main"), Some(SHA)];
            is_gitlab_file(claim, "https://gitlab.com", "group/project", ".gitlab-ci.yml", refs)
        };
        assert!(fits("gitlab.com/group/project//.gitlab-ci.yml@refs/heads/main"));
        assert!(fits("gitlab.internal:8443/group/project//.gitlab-ci.yml@refs/heads/main"));
        for claim in [
            "gitlab.com/x/group/project//.gitlab-ci.yml@refs/heads/main",
            "gitlab.com/Group/project//.gitlab-ci.yml@refs/heads/main",
            "gitlab.com/group/project//x//.gitlab-ci.yml@refs/heads/main",
            "gitlab.com/group/project/.gitlab-ci.yml@refs/heads/main",
            "gitlab.com/group/project//.gitlab-ci.yml@refs/heads/evil",
            "gitlab.com/group/project//.gitlab-ci.yml@evil@refs/heads/main",
            "/group/project//.gitlab-ci.yml@refs/heads/main",
            "group/project//.gitlab-ci.yml@refs/heads/main",
            "",
        ] {
            assert!(!fits(claim), "{claim}");
        }
        let relative = "example.com/gitlab/group/project//.gitlab-ci.yml@refs/heads/main";
        let refs = [Some("refs/heads/main"), None];
        assert!(is_gitlab_file(
            relative,
            "https://example.com/gitlab",
            "group/project",
            ".gitlab-ci.yml",
            refs
        ));
        assert!(!is_gitlab_file(relative, "https://example.com", "group/project", ".gitlab-ci.yml", refs));
    }
}
