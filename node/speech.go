package node

import "muster/repl/wire"

// speech is how this node speaks with others at the moment.
type speech uint8

const (
	// speaksPlain: it was started with --insecure. Left when the table says so.
	speaksPlain speech = iota
	// speaksOff: its cluster has no TLS yet. It takes TLS from those who have the secret, so that
	// members which have heard of the change earlier reach it. Left when the table says so.
	speaksOff
	// speaksFirst: it founds or joins a cluster with TLS, or has read no table yet. Left for what
	// the table says.
	speaksFirst
	// speaksBoth: members get their certificates. It dials TLS and takes both.
	speaksBoth
	// speaksOnly: TLS, and certificates alone prove who somebody is. Never left.
	speaksOnly
)

// bugPlainTaken is planted to show that its test finds it: a node with TLS still takes what comes
// without.
const bugPlainTaken = "plaintext taken by a secure node"

// takesPlain reports whether connections without TLS are taken. Those without a proof of the secret
// are not, where there was a choice.
func (s speech) takesPlain() bool {
	return s == speaksPlain || s == speaksOff || s == speaksBoth || bug(bugPlainTaken)
}

// dialsTLS reports whether this node dials with TLS, in a role.
func (s speech) dialsTLS(role wire.Role) bool {
	return s >= speaksFirst || s == speaksOff && role == wire.RoleInviting // that host knows nothing of this cluster yet
}
