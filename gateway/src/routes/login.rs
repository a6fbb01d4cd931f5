//! The sign-in page. It is for people, so whatever is asked of its path is answered with a page, and the document of
//! the interface does not know it.

use super::{page, route, with};
use crate::handlers::{self, Gateway};
use crate::reply;
use crate::request::request;
use std::sync::Arc;
use warp::http::Method;
use warp::{Filter, get, path, post};

/// All of it.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    show().or(sign_in(gateway)).unify().or(otherwise()).unify()
}

/// The form: `GET /cli/login?port=&state=&fp=&dn=`
fn show() -> route!() {
    path!("cli" / "login")
        .and(get())
        .and(request())
        .then(|request| page("GET /cli/login", handlers::login::show(request)))
}

/// What the form sends: `POST /cli/login?port=&state=&fp=&dn=`
fn sign_in(gateway: &Arc<Gateway>) -> route!() {
    path!("cli" / "login")
        .and(post())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| page("POST /cli/login", handlers::login::sign_in(gateway, request)))
}

/// Any other method.
fn otherwise() -> route!() {
    path!("cli" / "login")
        .and(warp::method())
        .map(|method: Method| reply::page("(wrong method)", handlers::login::wrong_method(method.as_str())))
}
