//! What has gone wrong between mail servers, and what stands against it here.
