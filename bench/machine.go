package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A machine describes the machine of a report. Figures of different machines cannot be compared.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Commit     string `json:"commit"`     // of this repository; with a + if files have changed since
	Tmpfs      bool   `json:"tmpfs"`      // whether the stores were on a tmpfs
	LoadBefore string `json:"loadBefore"` // load average: other processes make the figures worse
	LoadAfter  string `json:"loadAfter"`
}

// describeMachine describes this machine, for a run with stores in dir.
func describeMachine(dir string) machine {
	return machine{
		CPU:        cpuModel(),
		Cores:      runtime.NumCPU(),
		Kernel:     firstLine("/proc/sys/kernel/osrelease"),
		Go:         runtime.Version(),
		Commit:     commit(),
		Tmpfs:      onTmpfs(dir),
		LoadBefore: loadAverage(),
	}
}

func (m machine) String() string {
	files := "stores on tmpfs"
	if !m.Tmpfs {
		files = "stores NOT ON TMPFS"
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, commit %s, %s; load average %s before, %s after",
		m.CPU, m.Cores, m.Kernel, m.Go, m.Commit, files, m.LoadBefore, m.LoadAfter)
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

// commit returns the commit that is checked out in the current directory, if git knows it.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty=+").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// loadAverage returns the average number of runnable processes in the last minute.
func loadAverage() string {
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	return load
}

func onTmpfs(dir string) bool { return inMemory(dir) == "tmpfs" }

// inMemory returns the name of a directory's file system if that is in memory, or else "".
func inMemory(dir string) string {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return ""
	}
	return map[uint32]string{
		unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.HUGETLBFS_MAGIC: "hugetlbfs",
	}[uint32(fs.Type)]
}

func firstLine(path string) string {
	content, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(content), "\n")
	return line
}
