// The programs that a new cluster is tried with.

const SOURCE = `#include <iostream>

int main()
{
    char line[256];
    std::cin.getline(line, sizeof line);
    std::cout << "From Khala: " << line << std::endl;
    return 0;
}
`;

export const EXAMPLES = {
  cpp: {
    title: "C++",
    task: {
      name: "hello",
      inputs: [{ path: "main.cpp", content: SOURCE }],
      compile: { command: "g++ -g -Wall -o main main.cpp", limits: { wall_time: 30 } },
      execute: { command: "./main", stdin: "Hello World!\n", limits: { wall_time: 10 } },
      expected_output: "From Khala: Hello World!\n",
    },
  },
  python: {
    title: "Python",
    task: {
      name: "hello-python",
      inputs: [{ path: "main.py", content: "import sys\n\nfor line in sys.stdin:\n    print('From Khala:', line, end='')\n" }],
      execute: { command: "python3 main.py", stdin: "Hello World!\n", limits: { wall_time: 10 } },
    },
  },
  shell: {
    title: "A command",
    task: {
      name: "count-down",
      execute: { command: "for i in 3 2 1; do echo $i; sleep 1; done; echo done", limits: { wall_time: 30 } },
    },
  },
};
