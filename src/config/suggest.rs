//! "Did you mean …?"

/// The candidate most like `word`, if one is alike enough to be meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = plain(word);
    let reach = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            // Two words that share nothing are not alike, however short they are.
            *distance <= reach && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `"a", "b" or "c"`
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What to do about the unknown key `path`: a key like it, the same word in another section, or a
/// way to see them all.
pub(super) fn key(path: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<&str> = known.collect();
    let (section, word) = parts(path);
    let siblings = known.iter().copied().filter(|key| parts(key).0 == section);
    let same_word = known.iter().copied().filter(|key| parts(key).1 == word);
    let sections = known.iter().map(|key| parts(key).0).filter(|known| !known.is_empty());
    let near = nearest(path, siblings)
        .or_else(|| if section.is_empty() { nearest(word, sections) } else { None });
    let elsewhere: Vec<&str> = same_word.collect();
    match (near, elsewhere.as_slice()) {
        (Some(found), _) => format!("did you mean \"{found}\"?"),
        (None, [top]) if parts(top).0.is_empty() => {
            format!("\"{top}\" stands at the top of the file, before the first [section]")
        }
        (None, [_, ..]) => format!("did you mean {}?", listed(elsewhere)),
        (None, []) => match nearest(path, known.iter().copied()) {
            Some(found) => format!("did you mean \"{found}\"?"),
            None => "rebootctl config show lists the keys there are".to_owned(),
        },
    }
}

/// Section and last word of a key.
fn parts(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// Differences that people do not see: case, and `-` for `_`.
fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}
