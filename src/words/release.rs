//! Releases of kernels, as kernels name themselves.
//!
//! It does not know what a release does.

/// The version of a kernel release such as `6.18.44-fc-v669` or `23.1.0`; what cannot be read counts as 0.0.0.
pub fn version(release: &str) -> semver::Version {
    let numbers: Vec<u64> = release
        .split(|letter: char| !letter.is_ascii_digit())
        .take(3)
        .map_while(|number| number.parse().ok())
        .collect();
    let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
    semver::Version::new(number(0), number(1), number(2))
}
