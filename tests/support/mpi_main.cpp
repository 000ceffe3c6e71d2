// SPDX-License-Identifier: Apache-2.0
// The main of tests on ranks: all ranks run all tests, root prints what happened anywhere, and a
// rank that cannot go on ends the others instead of leaving them in a collective.
#include "support/mpi_main.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <sstream>

namespace gpfq::test {
namespace {

constexpr int skip_code = 77;  // SKIP_RETURN_CODE in tests/CMakeLists.txt

const mpi::Communicator* world_pointer = nullptr;

/// Every line of a failure with the rank that it happened on.
std::string describe(const testing::TestInfo* test, const testing::TestPartResult& part,
                     const mpi::Communicator& comm) {
  std::string text;
  if (test != nullptr) text += fmt::format("{}.{}\n", test->test_suite_name(), test->name());
  text +=
      fmt::format("{}:{}: {}", part.file_name() == nullptr ? "" : part.file_name(), part.line_number(), part.message());
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line);)
    result += fmt::format("[rank {}/{}] {}\n", comm.rank(), comm.size(), line);
  return result;
}

/// Collects failures; on root shows the progress of tests as GoogleTest does.
class RankListener : public testing::TestEventListener {
 public:
  RankListener(const mpi::Communicator& comm, std::unique_ptr<testing::TestEventListener> printer)
      : comm_(comm), printer_(std::move(printer)) {}

  [[nodiscard]] const std::string& failures() const { return failures_; }

  void OnTestPartResult(const testing::TestPartResult& part) override {
    if (part.passed()) return;
    if (part.skipped()) {
      if (comm_.is_root()) printer_->OnTestPartResult(part);
      return;
    }
    const std::string text = describe(test_, part, comm_);
    failures_ += text;
    if (!part.fatally_failed() || comm_.size() == 1) return;
    fmt::print(stderr, "{}ends all ranks: others may wait for this one\n", failures_);
    std::fflush(stdout);
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }

  void OnTestStart(const testing::TestInfo& test) override {
    test_ = &test;
    if (comm_.is_root()) printer_->OnTestStart(test);
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    test_ = nullptr;
    if (comm_.is_root()) printer_->OnTestEnd(test);
  }
  void OnTestSuiteStart(const testing::TestSuite& suite) override {
    if (comm_.is_root()) printer_->OnTestSuiteStart(suite);
  }
  void OnTestSuiteEnd(const testing::TestSuite& suite) override {
    if (comm_.is_root()) printer_->OnTestSuiteEnd(suite);
  }
  void OnTestProgramStart(const testing::UnitTest&) override {}
  void OnTestProgramEnd(const testing::UnitTest&) override {}
  void OnTestIterationStart(const testing::UnitTest& all, int iteration) override {
    if (comm_.is_root()) printer_->OnTestIterationStart(all, iteration);
  }
  void OnTestIterationEnd(const testing::UnitTest& all, int iteration) override {
    if (comm_.is_root()) printer_->OnTestIterationEnd(all, iteration);
  }
  void OnEnvironmentsSetUpStart(const testing::UnitTest&) override {}
  void OnEnvironmentsSetUpEnd(const testing::UnitTest&) override {}
  void OnEnvironmentsTearDownStart(const testing::UnitTest&) override {}
  void OnEnvironmentsTearDownEnd(const testing::UnitTest&) override {}

 private:
  const mpi::Communicator& comm_;
  std::unique_ptr<testing::TestEventListener> printer_;
  const testing::TestInfo* test_ = nullptr;
  std::string failures_;
};

int run(int argc, char** argv) {
  const mpi::Environment environment(argc, argv);
  const mpi::Communicator comm(MPI_COMM_WORLD);
  world_pointer = &comm;
  testing::InitGoogleTest(&argc, argv);
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  std::unique_ptr<testing::TestEventListener> printer(listeners.Release(listeners.default_result_printer()));
  auto* listener = new RankListener(comm, std::move(printer));  // owned by the list
  listeners.Append(listener);

  const int mine = RUN_ALL_TESTS();
  for (const std::string& failures : comm.gather_bytes(listener->failures())) fmt::print("{}", failures);
  const Index result = comm.max(Index{mine});
  const bool has_skipped = testing::UnitTest::GetInstance()->skipped_test_count() > 0;
  if (comm.is_root() && result != 0) fmt::print("FAILED on {} ranks\n", comm.size());
  std::fflush(stdout);
  if (result != 0) return static_cast<int>(result);
  return has_skipped ? skip_code : 0;
}

}  // namespace

const mpi::Communicator& world() { return *world_pointer; }

}  // namespace gpfq::test

int main(int argc, char** argv) {
  try {
    return gpfq::test::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  return 1;
}
