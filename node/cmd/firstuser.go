package cmd

import (
	"crypto/ecdsa"
	"fmt"
	"os"
	"os/user"
	"strings"

	"muster/node"
	"muster/repl/client/home"
	"muster/shardmap/access"
)

// firstUser is who runs this process, as the first administrator of a cluster that it founds. What makes
// the user one is kept where every command of the same user finds it.
func firstUser(cluster string) *node.FirstUser {
	return &node.FirstUser{Name: userName(), Keep: func(root, leaf []byte, key *ecdsa.PrivateKey) error {
		h, err := home.Default()
		if err != nil {
			return err
		}
		return h.Put(root, cluster, leaf, key)
	}}
}

// userName is what the system calls the user who runs this process, in the letters that a name may have.
func userName() string {
	name := ""
	if self, err := user.Current(); err == nil {
		name = cleanName(self.Username)
	}
	if access.CheckName(name) != nil {
		name = fmt.Sprintf("uid-%d", max(os.Getuid(), 0))
	}
	return name
}

// cleanName makes a name of what may have a domain before it, and letters that no name has.
func cleanName(name string) string {
	if i := strings.LastIndexAny(name, `\/`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		}
		return '-'
	}, strings.ToLower(name))
	name = strings.TrimLeft(name, ".-")
	return name[:min(len(name), access.NameMax)]
}
