// SPDX-License-Identifier: Apache-2.0
// A reader that falls over a file is one message and an exit code; memory is limited while the guard stands.
#include "gpfq/hdf5/read_guard.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>
#include <thread>

#include "gpfq/hdf5/handle.hpp"
#include "support/sanitizer.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::hdf5 {
namespace {

namespace fs = std::filesystem;

class ReadGuardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(file_) << "not much";
    if (test::has_address_sanitizer()) GTEST_SKIP() << "sanitizers keep their own handlers and memory";
  }

  const test::TempFolder folder_;
  const fs::path file_ = folder_.path() / "model.h5";
};

TEST_F(ReadGuardTest, ACrashIsAMessageThatNamesTheFile) {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT})
    EXPECT_EXIT(
        {
          const ReadGuard guard(file_, ReadGuard::Memory::any);
          std::raise(signal);
        },
        ::testing::ExitedWithCode(2), "^gpfq: reading .*/model.h5 was ended by a signal .*does not survive\n$");
}

TEST_F(ReadGuardTest, TheOutermostCounts) {
  EXPECT_EXIT(
      {
        const ReadGuard outer(file_, ReadGuard::Memory::any);
        { const ReadGuard inner(folder_.path() / "other.h5", ReadGuard::Memory::any); }
        std::abort();
      },
      ::testing::ExitedWithCode(2), "model.h5 was ended by a signal .SIGABRT.");
}

TEST_F(ReadGuardTest, AfterItAndOnOtherThreadsSignalsAreWhatTheyWere) {
  EXPECT_EXIT(
      {
        { const ReadGuard guard(file_, ReadGuard::Memory::any); }
        std::raise(SIGSEGV);
      },
      ::testing::KilledBySignal(SIGSEGV), "^$");
  EXPECT_EXIT(
      {
        const ReadGuard guard(file_, ReadGuard::Memory::any);
        std::thread([] { std::raise(SIGSEGV); }).join();
      },
      ::testing::KilledBySignal(SIGSEGV), "^$");
}

TEST_F(ReadGuardTest, AnErrorLeavesNothingBehind) {
  rlimit before{};
  getrlimit(RLIMIT_DATA, &before);
  EXPECT_THROW(static_cast<void>(open_file(file_)), Error);
  rlimit after{};
  getrlimit(RLIMIT_DATA, &after);
  EXPECT_EQ(before.rlim_cur, after.rlim_cur);
  EXPECT_EXIT(std::raise(SIGSEGV), ::testing::KilledBySignal(SIGSEGV), "^$");
}

TEST_F(ReadGuardTest, WhatSomebodyElseSendsIsNotTheFilesFault) {
  EXPECT_EXIT(
      {
        const ReadGuard guard(file_, ReadGuard::Memory::any);
        const pid_t self = ::getpid();
        if (::fork() == 0) {
          ::kill(self, SIGABRT);
          std::_Exit(0);
        }
        ::sleep(10);
      },
      ::testing::KilledBySignal(SIGABRT), "^$");
}

TEST_F(ReadGuardTest, MemoryIsLimitedWhileItStands) {
  constexpr std::size_t much = std::size_t{1} << 30;
  const auto is_had = [] {
    const std::unique_ptr<char, decltype(&std::free)> memory(static_cast<char*>(std::malloc(much)), &std::free);
    return memory != nullptr;
  };
  rlimit before{};
  getrlimit(RLIMIT_DATA, &before);
  {
    const ReadGuard guard(file_, ReadGuard::Memory::as_the_file);
    EXPECT_FALSE(is_had());
  }
  EXPECT_TRUE(is_had());
  {
    const ReadGuard guard(file_, ReadGuard::Memory::any);
    EXPECT_TRUE(is_had());
  }
  rlimit after{};
  getrlimit(RLIMIT_DATA, &after);
  EXPECT_EQ(before.rlim_cur, after.rlim_cur);
}

}  // namespace
}  // namespace gpfq::hdf5
