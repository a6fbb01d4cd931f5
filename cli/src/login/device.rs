//! What this machine calls itself when it signs in: for people who look at a list of their sessions.

use openssl::sha::sha256;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The host's name.
pub(crate) fn name() -> String {
    let kernels = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = variable("HOSTNAME").or_else(kernels).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "CLI".to_owned() } else { name }
}

/// SHA-256 of host and user, as the published client has it: the same machine in the same context.
pub(crate) fn fingerprint() -> String {
    let known = |name| variable(name).unwrap_or("unknown".to_owned());
    of(&known("HOSTNAME"), &known("USER"))
}

fn of(host: &str, user: &str) -> String {
    hex::encode(sha256(format!("{host}:{user}:lpm-cli").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_the_published_clients() {
        // printf %s unknown:unknown:lpm-cli | sha256sum
        assert_eq!(
            of("unknown", "unknown"),
            "1bca79bca7de8d17c198f853f71717704e638d19ff1d38542bb064aa7cfe3da5"
        );
        assert_eq!(fingerprint().len(), 64);
    }

    #[test]
    fn a_machine_has_a_name() {
        assert!(!name().is_empty() && name().chars().count() <= 64);
    }
}
