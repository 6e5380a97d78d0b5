// Command interop runs the stock Go client through the features of interop/README.md.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var all = []string{"sync", "async", "one-way", "batch", "body-100B", "body-2KiB", "body-4MiB",
	"body-5MiB", "compressed", "tags", "keys", "properties", "push-cluster", "push-broadcast",
	"rebalance", "pull", "from-first", "from-last", "from-timestamp", "offsets-kill",
	"two-shards"}

var lines = bufio.NewScanner(os.Stdin)

func main() {
	namesrv := flag.String("namesrv", "", "name server, host:port")
	prefix := flag.String("prefix", "", "first part of every topic and group")
	feature := flag.String("feature", "all", "all, NAME,…, capture, load or verify")
	journal := flag.String("journal", "", "file of acknowledged keys (load, verify)")
	flag.Parse()
	rlog.SetLogLevel("fatal")
	c := &clients{namesrv: *namesrv, prefix: *prefix}
	code, err := run(c, *feature, *journal)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 2
	}
	os.Exit(code)
}

func run(c *clients, feature, journal string) (int, error) {
	switch feature {
	case "capture":
		return 0, capture(c)
	case "load":
		return 0, load(c, journal)
	case "verify":
		return verify(c, journal)
	case "all":
		return features(c, all)
	default:
		return features(c, strings.Split(feature, ","))
	}
}

// askForKill: the harness kills the broker, starts it again and answers with one line.
func askForKill() error {
	fmt.Println("WAIT kill")
	if !lines.Scan() {
		return fmt.Errorf("nobody answered WAIT kill")
	}
	return nil
}
