//! Pairing: a browser that is signed in gets the machine's wrapping key from a command line that is, too.

use serde::{Deserialize, Serialize};

/// `POST /api/vault/pair`, sent by the browser.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StartPairingRequest {
    /// P-256, SEC1 uncompressed, base64 of 65 bytes.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^B[A-P][A-Za-z0-9+/]{84}[AEIMQUYcgkosw048]=$",
            example = "BB4XJQD1pQr+yDucp7rjC794zlpJQAgUV9LgulYRBcCF7cR91i2tr3MIvsCXl+NzAO7/HfqeNNU0cg9eUEinY9g="
        )
    )]
    pub browser_public_key: String,
    /// What the browser calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub device_label: Option<String>,
}

/// What the browser shows.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StartPairingReply {
    /// Six characters of `A-Z 2-9` without I and O.
    pub code: String,
    /// When it ends, RFC 3339: five minutes.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
}

/// `GET /api/vault/pair/{code}`, asked by the command line.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PairingReply {
    /// `pending`, `approved`, `consumed` or `expired`; codes of others are `expired`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(pending|approved|consumed|expired)$"))]
    pub status: String,
    /// While `pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^B[A-P][A-Za-z0-9+/]{84}[AEIMQUYcgkosw048]=$"))]
    pub browser_public_key: Option<String>,
    /// While `pending`: what the browser calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_label: Option<String>,
}

/// `POST /api/vault/pair/{code}`, sent by the command line.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApprovePairingRequest {
    /// `b64(iv):b64(wrapping key ‖ tag)`, 81 characters.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9+/]{16}:[A-Za-z0-9+/]{64}$"))]
    pub encrypted_wrapping_key: String,
    /// P-256, SEC1 uncompressed, base64 of 65 bytes.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^B[A-P][A-Za-z0-9+/]{84}[AEIMQUYcgkosw048]=$",
            example = "BEi1j8e94o+hID2WJrwB/WrB4w/ACUUrv8oMxYmSxi1uiPn6cHzRjD2upygLZJmS5KL8/KRiz2+E2V34sApCZTY="
        )
    )]
    pub ephemeral_public_key: String,
}

/// `POST /api/vault/pair/{code}/consume`, sent by the browser that started it: the ciphertext, once.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConsumePairingReply {
    /// `pending`, `approved`, `consumed` or `expired`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(pending|approved|consumed|expired)$"))]
    pub status: String,
    /// With `approved`, which is answered once: the next answer is `consumed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9+/]{16}:[A-Za-z0-9+/]{64}$"))]
    pub encrypted_wrapping_key: Option<String>,
    /// With `approved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^B[A-P][A-Za-z0-9+/]{84}[AEIMQUYcgkosw048]=$"))]
    pub ephemeral_public_key: Option<String>,
}
