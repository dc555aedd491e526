package cmd

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/node"
	"muster/node/login"
	"muster/repl/wire"
	"muster/shardmap"
)

// passwordRandom is how many random bytes a password has that muster makes.
const passwordRandom = 15

func passwordFlags() []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "password-file", Usage: "`FILE` whose first line is the password, - for standard input; without it one is made"}}
}

// password is one for a user: what the cluster is told of it, and what it is if it was made here.
type password struct {
	hash shardmap.PasswordHash
	made string
}

// withPassword reads the name and the password that a command gives to a user, and opens an errand.
func (con *console) withPassword(c *cli.Context, do func(s *errand, name string, p *password) error) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	name, err := checkedName(c, "user")
	if err != nil {
		return err
	}
	none := c.Bool("no-password")
	if none && c.IsSet("password-file") {
		return usagef("%s: --no-password and --password-file contradict each other; give one", c.Command.HelpName)
	}
	p := new(password)
	if !none {
		if p, err = con.newPassword(c); err != nil {
			return err
		}
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return do(s, name, p)
}

// newPassword reads a password from --password-file, or makes one. It is hashed here: nobody else
// gets to know it.
func (con *console) newPassword(c *cli.Context) (p *password, err error) {
	p = new(password)
	text := []byte(nil)
	if c.IsSet("password-file") {
		if text, err = con.readPassword(c); err != nil {
			return nil, err
		}
	} else {
		p.made = madePassword()
		text = []byte(p.made)
	}
	p.hash, err = login.Hash(rand.Reader, text, login.Rounds)
	return p, err
}

// readPassword reads the first line of --password-file.
func (con *console) readPassword(c *cli.Context) ([]byte, error) {
	name := c.String("password-file")
	if name == "" {
		return nil, usagef("%s: --password-file: empty; want a FILE, or - for standard input", c.Command.HelpName)
	}
	if name != fromInput && con.call == nil {
		return node.ReadPassword(name)
	}
	b, from, err := con.contents(name, wire.PasswordMax+2, "the limit of a password and the end of its line")
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	return line, node.CheckPassword(from, line)
}

// madePassword returns a password that nobody can guess, and that can be typed.
func madePassword() string {
	var b [passwordRandom]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	text := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	const part = 6
	var parts []string
	for i := 0; i < len(text); i += part {
		parts = append(parts, text[i:i+part])
	}
	return strings.Join(parts, "-")
}
