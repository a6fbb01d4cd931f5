//! Which methods a path has, read from the document.

use http::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;

/// Every path of the document. A request asks once, so they are grouped by their number of segments.
pub(crate) struct Paths(Vec<Vec<Documented>>);

/// A path of the document and its methods.
pub(crate) struct Documented {
    segments: Vec<String>,
    methods: Vec<Method>,
    /// The methods as the header `Allow` has them.
    pub allow: String,
}

impl Paths {
    pub(super) fn of(document: &OpenApi) -> Self {
        let mut groups: Vec<Vec<Documented>> = Vec::new();
        for (path, item) in &document.paths.paths {
            let path = Documented::new(path, item);
            if groups.len() <= path.segments.len() {
                groups.resize_with(path.segments.len() + 1, Vec::new);
            }
            groups[path.segments.len()].push(path);
        }
        for group in &mut groups {
            // what is spelt out goes before what is a place for anything
            group.sort_by_key(Documented::places);
        }
        Self(groups)
    }

    /// The path of the document that a request's path is; one slash behind it changes nothing.
    pub(crate) fn find(&self, path: &str) -> Option<&Documented> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let count = path.split('/').count();
        self.0.get(count)?.iter().find(|documented| documented.is(path))
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = (String, &Documented)> {
        self.0.iter().flatten().map(|documented| (format!("/{}", documented.segments.join("/")), documented))
    }
}

impl Documented {
    fn new(path: &str, item: &PathItem) -> Self {
        let mut methods: Vec<Method> = [
            (Method::DELETE, item.delete.is_some()),
            (Method::GET, item.get.is_some()),
            (Method::POST, item.post.is_some()),
            (Method::PUT, item.put.is_some()),
        ]
        .into_iter()
        .filter_map(|(method, there)| there.then_some(method))
        .collect();
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let segments = path.trim_start_matches('/').split('/').map(str::to_owned).collect();
        Self { segments, methods, allow }
    }

    pub(crate) fn has(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    #[cfg(test)]
    pub(crate) fn methods(&self) -> &[Method] {
        &self.methods
    }

    fn is(&self, path: &str) -> bool {
        self.segments.iter().zip(path.split('/')).all(|(documented, segment)| {
            documented == segment || documented.starts_with('{') && !segment.is_empty()
        })
    }

    /// Which segments are places.
    fn places(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| segment.starts_with('{')).collect()
    }
}
