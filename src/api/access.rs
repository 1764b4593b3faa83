//! Who may ask for what. On the unix socket the kernel says who asks (SO_PEERCRED); nobody else is heard.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::StatusCode;

use super::problem::Failure;
use crate::{base::Actor, web::Peer};

/// The group whose members may do what root may.
const GROUP: &str = "roundsman";

/// What a caller may do; each scope holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Read,
    Operate,
    Admin,
}

pub(super) async fn may_read(request: Request, next: Next) -> Response {
    guard(Scope::Read, request, next).await
}

pub(super) async fn may_operate(request: Request, next: Next) -> Response {
    guard(Scope::Operate, request, next).await
}

pub(super) async fn may_administer(request: Request, next: Next) -> Response {
    guard(Scope::Admin, request, next).await
}

async fn guard(needed: Scope, request: Request, next: Next) -> Response {
    let granted = request.extensions().get::<Peer>().and_then(granted);
    match granted {
        Some(scope) if scope >= needed => next.run(request).await,
        Some(_) | None => Failure::new(
            StatusCode::FORBIDDEN,
            "not allowed",
            format!("ask as root, as the supervisor's own user, or as a member of the group {GROUP}"),
        )
        .into_response(),
    }
}

/// Root, our own user and the group's members may do everything; nobody else gets through the socket's mode either.
fn granted(peer: &Peer) -> Option<Scope> {
    let Peer::Unix(Some(credentials)) = peer else { return None };
    let own = nix::unistd::geteuid().as_raw();
    let uid = credentials.uid;
    (uid == 0 || uid == own || is_member(uid, credentials.gid)).then_some(Scope::Admin)
}

fn is_member(uid: u32, gid: u32) -> bool {
    let Ok(Some(group)) = nix::unistd::Group::from_name(GROUP) else { return false };
    if group.gid.as_raw() == gid {
        return true;
    }
    let Ok(Some(user)) = nix::unistd::User::from_uid(uid.into()) else { return false };
    group.mem.contains(&user.name)
}

/// Who asks, for the audit.
pub(super) fn actor(peer: Option<&Peer>) -> Actor {
    match peer {
        Some(Peer::Unix(Some(credentials))) => Actor::User(credentials.uid),
        Some(Peer::Unix(None) | Peer::Tcp(_)) | None => Actor::UNKNOWN,
    }
}
