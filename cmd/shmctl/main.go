// Command shmctl manages shared-memory key/value stores. It reads and writes single
// keys and maps, loads and dumps whole stores, shows the attached processes, accounts for every
// byte of the file, and demonstrates all of this on real data.
//
// It accesses stores through packages shm, shm/cache and shm/counter only, so a program can do the same.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/demo"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	started := false
	root := newRoot()
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err != nil && !started {
		err = usageError{err} // from cobra: an unknown verb or flag, or a wrong number of arguments
	}
	return report(stderr, err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "shmctl",
		Short: "Manage shared-memory key/value stores",
		Long: `shmctl manages shared-memory key/value stores of package shm. STORE is the
directory of a store. A store has an unnamed map and may have named ones: --map NAME
chooses one of these. All verbs work while other programs use the store, except
compact --exclusive and check --repair.

` + storeHelp + "\n\n" + exitHelp(),
		Example:       "  shmctl demo\n  shmctl set /dev/shm/cache greeting hello\n  shmctl get /dev/shm/cache greeting",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if errors.As(err, new(*pflag.NotExistError)) {
			return fmt.Errorf("%w (write -- before arguments that begin with a dash)", err)
		}
		return err
	})
	root.SetVersionTemplate("shmctl {{.Version}}\n")
	root.AddCommand(
		newBackup(), newCache(), newCheck(), newCompact(), newCounters(), newDel(), newDemo(),
		newDemoProcess(demo.ReaderVerb, demo.Read), newDemoProcess(demo.WriterVerb, demo.Write), newDiff(), newDoctor(),
		newDrop(), newDump(), newGet(), newIncr(), newKeys(), newLoad(), newMan(), newMap(), newMaps(), newRecord(), newRecover(), newRestore(), newServe(), newSet(), newSlots(), newStat(), newSync(),
		newTop(), newWatch(),
	)
	for _, cmd := range verbs(root) {
		completing(cmd)
		mentionStoreVariable(cmd)
	}
	addCompletion(root)
	return root
}

// verbs returns the verbs below a command, with those that have verbs of their own.
func verbs(cmd *cobra.Command) (all []*cobra.Command) {
	for _, c := range cmd.Commands() {
		all = append(append(all, c), verbs(c)...)
	}
	return all
}

// version returns the module version, commit and Go version of this binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	words := []string{info.Main.Version}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			words = append(words, "commit "+s.Value)
		case s.Key == "vcs.modified" && s.Value == "true":
			words = append(words, "modified")
		}
	}
	return strings.TrimSpace(strings.Join(append(words, info.GoVersion), " "))
}
