// Command etcd is the server of etcd as its module has it.
//
// It adds nothing and sets nothing: flags are etcd's own.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
