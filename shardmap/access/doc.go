// Package access says who may do what.
//
// A role is a name with grants; a grant is some verbs on one object: the keys, the services or the
// databases that begin with a prefix, or the cluster. A user has roles. [Compile] makes [Rules] of
// all of them, once for each change, and a user's [Rights] answer in some ten nanoseconds. There are no
// denials: what no grant allows is denied, so neither the order of roles nor that of grants matters.
//
// The package keeps nothing, and knows no message: who has which role is in the table (shardmap),
// what a request needs stands beside the types (repl/wire), and the node asks (node/authorize.go).
//
// # Where to look
//
// Start with object.go; verbs.go has the verbs, rules.go the question and its answer, name.go the
// names of users and roles.
package access
